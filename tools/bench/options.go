package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/size"
)

// results is where results are saved, each in a directory of its own.
const results = "bench"

// options are the command line's of a run.
type options struct {
	belay, vhostbench string
	rows              string
	rounds            int
	secs              float64
	seconds           time.Duration // of secs
	ramp              time.Duration
	size              size.Flag
	dir, shm, out     string
	backendCPU        int
	clientCPU         int
	short, noScale    bool
}

func defaults() options {
	return options{belay: "bin/belay", vhostbench: "bin/vhostbench", rounds: 9, secs: 2,
		ramp: 300 * time.Millisecond, size: 2 << 30, dir: "build/bench", shm: "/dev/shm/belay-bench", clientCPU: 1}
}

// flags are those of every verb that measures.
func (o *options) flags(f *pflag.FlagSet) {
	f.StringVar(&o.belay, "belay", o.belay, "the program to measure")
	f.StringVar(&o.vhostbench, "vhostbench", o.vhostbench, "the load generator")
	f.StringVar(&o.rows, "rows", o.rows, "regular expression of the rows' names; see 'bench rows'")
	f.IntVar(&o.rounds, "rounds", o.rounds, "how often everything is measured")
	f.Float64Var(&o.secs, "seconds", o.secs, "how long each measurement takes")
	f.DurationVar(&o.ramp, "ramp", o.ramp, "load before each measurement that does not count")
	f.Var(&o.size, "size", "size of each disk")
	f.StringVar(&o.dir, "dir", o.dir, "where the disks are made, in a directory that goes away again")
	f.StringVar(&o.shm, "shm", o.shm, "where those in memory are made")
	f.IntVar(&o.backendCPU, "backend-cpu", o.backendCPU, "CPU of back ends and fio")
	f.IntVar(&o.clientCPU, "client-cpu", o.clientCPU, "CPU of the front end, where it has one of its own")
	f.BoolVar(&o.short, "short", o.short, "only show that everything works: one short round, small disks")
}

// The short form's values, where no flag says otherwise.
const (
	shortRounds = 1
	shortSecs   = 0.2
	shortRamp   = 20 * time.Millisecond
	shortSize   = 64 << 20
)

// complete fills in what follows from the flags, and refuses what cannot be.
func (o *options) complete(changed func(flag string) bool) error {
	if o.short {
		set(changed("rounds"), &o.rounds, shortRounds)
		set(changed("seconds"), &o.secs, shortSecs)
		set(changed("ramp"), &o.ramp, shortRamp)
		set(changed("size"), &o.size, shortSize)
		o.noScale = true
	}
	o.seconds = time.Duration(o.secs * float64(time.Second))
	switch {
	case o.rounds < 1:
		return errors.New("--rounds is at least 1")
	case o.seconds < 10*time.Millisecond || o.ramp < 0:
		return errors.New("--seconds is at least 0.01, and --ramp not negative")
	case o.bytes()%(1<<20) != 0 || o.bytes() < 16<<20:
		return errors.New("--size is a multiple of 1M, and at least 16M")
	}
	for _, path := range []*string{&o.belay, &o.vhostbench, &o.dir, &o.shm} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return o.checkCPUs()
}

// set gives a value to what no flag has set.
func set[T any](changed bool, at *T, value T) {
	if !changed {
		*at = value
	}
}

func (o *options) bytes() int64 { return int64(o.size) }

// turn is how long a measurement takes at most, if it is one for a time.
func (o *options) turn() time.Duration { return o.seconds + o.ramp }

// checkCPUs refuses placements that this process may not use. The short form makes do with one
// CPU.
func (o *options) checkCPUs() error {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("affinity: %w", err)
	}
	if o.short && !allowed.IsSet(o.clientCPU) {
		o.clientCPU = o.backendCPU
	}
	for _, cpu := range []int{o.backendCPU, o.clientCPU} {
		if cpu < 0 || !allowed.IsSet(cpu) {
			return fmt.Errorf("CPU %d is not there, or not for this process, which has %d: "+
				"see --backend-cpu and --client-cpu", cpu, runtime.NumCPU())
		}
	}
	if !o.short && o.backendCPU == o.clientCPU {
		return errors.New("--backend-cpu and --client-cpu are the same: a front end that polls needs its own")
	}
	return nil
}

// choose picks the rows that --rows names, and says whether the store's own figures are among
// them.
func (o *options) choose() (chosen []row, scale bool, err error) {
	want, err := regexp.Compile("^(?:" + o.rows + ")")
	if err != nil {
		return nil, false, fmt.Errorf("--rows: %w", err)
	}
	for _, r := range rows {
		if want.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	scale = !o.noScale && want.MatchString(scaleRow)
	if len(chosen) == 0 && !scale {
		return nil, false, fmt.Errorf("--rows %s names none; 'bench rows' shows them", o.rows)
	}
	return chosen, scale, nil
}

// program is something that a run starts, and what to do where it is missing.
type program struct{ name, remedy string }

// check looks for everything that the chosen rows need before anything is made.
func (o *options) check(chosen []row, scale bool) error {
	const setup = "make setup installs it (Debian package %s)"
	var all needs
	for _, s := range subjects(chosen) {
		n := s.needs()
		all.qemu, all.fio = all.qemu || n.qemu, all.fio || n.fio
	}
	wanted := []program{{o.belay, "make build makes it"}, {o.vhostbench, "make build makes it"},
		{taskset, fmt.Sprintf(setup, "util-linux")}}
	if all.fio {
		wanted = append(wanted, program{fioProgram, fmt.Sprintf(setup, "fio")})
	}
	if all.qemu {
		wanted = append(wanted, program{storageDaemon, fmt.Sprintf(setup, "qemu-utils")},
			program{qemuImg, fmt.Sprintf(setup, "qemu-utils")})
	}
	if scale {
		wanted = append(wanted, program{"go", "see https://go.dev/dl"})
	}
	var missing []error
	for _, p := range wanted {
		if _, err := exec.LookPath(p.name); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing: %s", p.name, p.remedy))
		}
	}
	return errors.Join(missing...)
}

// room refuses places without enough room for the chosen rows. Fresh disks come and go, and the
// raw images are everybody's.
func (o *options) room(l *lab, chosen []row) error {
	disk, memory, passing := 2, 0, 0
	for _, s := range subjects(chosen) {
		n := s.needs()
		if n.fresh {
			passing = max(passing, n.disk)
			continue
		}
		disk, memory = disk+n.disk, memory+n.memory
	}
	if memory > 0 {
		memory++ // its raw image
	}
	return errors.Join(hasRoom(l.disk.path, int64(disk+passing)*o.bytes()),
		hasRoom(l.memory.path, int64(memory)*o.bytes()))
}

// subjects are all that the rows measure, each once.
func subjects(chosen []row) []subject {
	var all []subject
	for _, r := range chosen {
		for _, e := range r.entries {
			if !slices.Contains(all, e.subject) {
				all = append(all, e.subject)
			}
		}
	}
	return all
}
