//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// slowDisk is a block device that takes only so many operations a second of a process: a loop
// device and a control group that limits who is in it (blkio of version 1, io of version 2).
type slowDisk struct {
	t      *testing.T
	path   string
	number string // major:minor
	root   string // directory of the controller
	group  string // directory of the control group
	second bool   // of version 2
}

func newSlowDisk(t *testing.T, size int64) *slowDisk {
	t.Helper()
	d := &slowDisk{t: t}
	d.makeDevice(size)
	d.findController()
	d.group = filepath.Join(d.root, fmt.Sprint("belay-e2e-", os.Getpid()))
	if err := os.Mkdir(d.group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.removeGroup)
	return d
}

func (d *slowDisk) makeDevice(size int64) {
	d.t.Helper()
	// In memory, as the disk of this machine may be slow for reasons of its own.
	dir, err := os.MkdirTemp("/dev/shm", "belay-e2e-")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		d.t.Fatal(err)
	}
	d.path = d.host("losetup", "--find", "--show", file)
	d.t.Cleanup(func() { d.host("losetup", "--detach", d.path) })
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		d.t.Fatal(err)
	}
	d.number = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// host runs a command of this machine's administrator.
func (d *slowDisk) host(name string, args ...string) string {
	d.t.Helper()
	if path := filepath.Join("/usr/sbin", name); !filepath.IsAbs(name) && exists(path) {
		name = path
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// findController finds where control groups limit block devices, and mounts that where it is not.
func (d *slowDisk) findController() {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line) // device, place, kind, options
		switch {
		case f[2] == "cgroup" && strings.Contains(f[3], "blkio"):
			d.root = f[1]
			return
		case f[2] == "cgroup2" && d.hasIO(f[1]):
			d.root, d.second = f[1], true
			return
		}
	}
	d.root = d.t.TempDir()
	if err := unix.Mount("cgroup", d.root, "cgroup", 0, "blkio"); err != nil {
		d.t.Fatalf("no control group can limit a device here: mounting blkio: %v", err)
	}
	d.t.Cleanup(func() {
		if err := unix.Unmount(d.root, 0); err != nil {
			d.t.Error(err)
		}
	})
}

// hasIO says whether a hierarchy of version 2 has the controller, and gives it to its groups.
func (d *slowDisk) hasIO(root string) bool {
	has, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil || !strings.Contains(" "+strings.TrimSpace(string(has))+" ", " io ") {
		return false
	}
	d.set(filepath.Join(root, "cgroup.subtree_control"), "+io")
	return true
}

func (d *slowDisk) set(file, value string) {
	d.t.Helper()
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		d.t.Fatal(err)
	}
}

// admit puts a process into the group.
func (d *slowDisk) admit(pid int) {
	d.t.Helper()
	d.set(filepath.Join(d.group, "cgroup.procs"), fmt.Sprint(pid))
}

// limit says how many reads or writes a second the device takes of the group; 0 for any number.
func (d *slowDisk) limit(op string, perSecond int) {
	d.t.Helper()
	if !d.second {
		d.set(filepath.Join(d.group, "blkio.throttle."+op+"_iops_device"), fmt.Sprint(d.number, " ", perSecond))
		return
	}
	n := fmt.Sprint(perSecond)
	if perSecond == 0 {
		n = "max"
	}
	d.set(filepath.Join(d.group, "io.max"), fmt.Sprintf("%s %ciops=%s", d.number, op[0], n))
}

// removeGroup puts who is left in the group back to where all are, and removes it.
func (d *slowDisk) removeGroup() {
	left, err := os.ReadFile(filepath.Join(d.group, "cgroup.procs"))
	if err != nil {
		d.t.Error(err)
	}
	for _, pid := range strings.Fields(string(left)) {
		err := os.WriteFile(filepath.Join(d.root, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			d.t.Error(err)
		}
	}
	if err := os.Remove(d.group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Error(err)
	}
}
