package report

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Describe says where a run is whose disks are made in dir.
func Describe(dir string) (Machine, error) {
	var m Machine
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return m, err
	}
	cpus, err := proc.CPUInfo()
	if err != nil {
		return m, err
	}
	memory, err := proc.Meminfo()
	if err != nil {
		return m, err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, err
	}
	m = Machine{CPU: "unknown", CPUs: runtime.NumCPU(), Kernel: unix.ByteSliceToString(u.Release[:])}
	if len(cpus) > 0 && cpus[0].ModelName != "" {
		m.CPU = cpus[0].ModelName
	}
	if memory.MemTotalBytes != nil {
		m.Memory = *memory.MemTotalBytes
	}
	m.Disk, m.FileSystem, err = describeDisk(dir)
	return m, err
}

// describeDisk names the device and the file system of a directory, or of the one that it will be
// made in.
func describeDisk(dir string) (disk, system string, err error) {
	var st unix.Stat_t
	for err = unix.Stat(dir, &st); errors.Is(err, fs.ErrNotExist) && dir != "/"; err = unix.Stat(dir, &st) {
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return "", "", err
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	mounts, err := procfs.GetMounts()
	if err != nil {
		return "", "", err
	}
	disk, system = number, "unknown"
	for _, m := range mounts {
		if m.MajorMinorVer == number {
			disk, system = m.Source, m.FSType+" ("+mountOptions(m)+")"
		}
	}
	return disk + deviceQueue(number), system, nil
}

func mountOptions(m *procfs.MountInfo) string {
	all := map[string]string{}
	maps.Copy(all, m.Options)
	maps.Copy(all, m.SuperOptions)
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] != "" {
			name += "=" + all[name]
		}
		words = append(words, name)
	}
	return strings.Join(words, ",")
}

// chosenWord is the word in brackets of a file with all choices.
var chosenWord = regexp.MustCompile(`\[(.*)\]`)

// deviceQueue says how the kernel drives a block device, as far as it says so.
func deviceQueue(number string) string {
	read := func(name string) string {
		for _, dir := range []string{"queue", "../queue"} { // a partition has its disk's
			text, err := os.ReadFile(filepath.Join("/sys/dev/block", number, dir, name))
			if err == nil {
				return strings.TrimSpace(string(text))
			}
		}
		return "?"
	}
	scheduler := read("scheduler")
	if word := chosenWord.FindStringSubmatch(scheduler); word != nil {
		scheduler = word[1]
	}
	return fmt.Sprintf(" (scheduler %s, %s requests, %s cache)", scheduler, read("nr_requests"),
		read("write_cache"))
}

// LoadNow is the load of the last minute, 0 if nobody says.
func LoadNow() float64 {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	l, err := proc.LoadAvg()
	if err != nil {
		return 0
	}
	return l.Load1
}

// Commit names the source that this was built from, as far as git knows.
func Commit(ctx context.Context) string {
	return FirstLine(ctx, "git", "describe", "--always", "--tags", "--dirty")
}

// FirstLine is what a program says first, "unknown" if it says nothing.
func FirstLine(ctx context.Context, args ...string) string {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return "unknown"
	}
	return strings.Join(strings.Fields(line), " ")
}
