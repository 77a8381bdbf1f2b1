package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// TestRows holds the table to what the rest relies on: names that are unique, and targets that
// speak of entries there are.
func TestRows(t *testing.T) {
	seen := map[string]bool{scaleRow: true}
	for _, r := range rows {
		if seen[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		seen[r.name] = true
		names := map[string]bool{}
		for _, e := range r.entries {
			if names[e.Name] {
				t.Errorf("%s: two entries are called %s", r.name, e.Name)
			}
			names[e.Name] = true
			if b, ok := e.subject.(*backend); ok && b.fresh {
				if e.load == nil && r.load.share == 0 || e.load != nil && e.load.share == 0 {
					t.Errorf("%s: %s is fresh only for a share of its blocks", r.name, e.Name)
				}
			}
		}
		twice := slices.ContainsFunc(r.entries, func(e entry) bool { return e.Repeats != "" })
		if !twice || len(r.targets) == 0 {
			t.Errorf("%s has no A/A or no target", r.name)
		}
		for _, target := range r.targets {
			for _, name := range append([]string{target.Entry}, target.Against...) {
				if !names[name] {
					t.Errorf("%s: a target speaks of %q, which is no entry", r.name, name)
				}
			}
			if (target.AtLeast == 0) == (target.AtMost == 0) {
				t.Errorf("%s: a target without one bound", r.name)
			}
		}
	}
}

func TestSecondMeasurementsAreHalfARoundAway(t *testing.T) {
	entries := with(twice(steady), of(qsdRaw), of(qsdThread), of(fio))
	order := spaced(entries)
	if !reflect.DeepEqual(order, []int{0, 2, 3, 1, 4}) {
		t.Errorf("got %v", order)
	}
	if got := spaced(twice(steady)); !reflect.DeepEqual(got, []int{0, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestChoose(t *testing.T) {
	o := options{rows: "flush"}
	chosen, scale, err := o.choose()
	if err != nil || scale || len(chosen) != 2 || chosen[0].name != "flush-one-cpu" {
		t.Errorf("got %v, %v, %v", chosen, scale, err)
	}
	o = options{rows: scaleRow}
	if chosen, scale, err = o.choose(); err != nil || !scale || len(chosen) != 0 {
		t.Errorf("got %v, %v, %v", chosen, scale, err)
	}
	o = options{noScale: true}
	if chosen, scale, err = o.choose(); err != nil || scale || len(chosen) != len(rows) {
		t.Errorf("got %v, %v, %v", chosen, scale, err)
	}
	for _, wrong := range []string{"nothing", "("} {
		o := options{rows: wrong}
		if _, _, err := o.choose(); err == nil {
			t.Errorf("--rows %s was taken", wrong)
		}
	}
}

func TestShortFormLeavesFlagsAlone(t *testing.T) {
	o := defaults()
	o.short, o.rounds = true, 3
	if err := o.complete(func(flag string) bool { return flag == "rounds" }); err != nil {
		t.Fatal(err)
	}
	if o.rounds != 3 || o.bytes() != shortSize || o.seconds != 200*time.Millisecond || !o.noScale {
		t.Errorf("got %+v", o)
	}
}

func TestWrongOptions(t *testing.T) {
	for name, change := range map[string]func(*options){
		"rounds":  func(o *options) { o.rounds = 0 },
		"seconds": func(o *options) { o.secs = 0 },
		"size":    func(o *options) { o.size = 4096 },
		"CPU":     func(o *options) { o.backendCPU = 900 },
		"same":    func(o *options) { o.clientCPU = o.backendCPU },
	} {
		o := defaults()
		change(&o)
		if err := o.complete(func(string) bool { return false }); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	o := defaults()
	err := o.check(rows, true)
	for _, name := range []string{"belay", "vhostbench", taskset, fioProgram, storageDaemon, qemuImg, "go"} {
		if err == nil || !strings.Contains(err.Error(), name+" is missing: ") {
			t.Errorf("%s is not said to be missing: %v", name, err)
		}
	}
	only := []row{{entries: twice(steady)}}
	if err := o.check(only, false); err == nil || strings.Contains(err.Error(), "qemu") {
		t.Errorf("got %v", err)
	}
}

func TestPlacements(t *testing.T) {
	o := &options{backendCPU: 2, clientCPU: 3}
	if together.cpu(o) != 2 || apart.cpu(o) != 3 || together.how(o) != "eventfd" || apart.how(o) != "poll" {
		t.Error("two CPUs")
	}
	if got := apart.describe(o); got != "back end on CPU 2, front end polling on CPU 3" {
		t.Error(got)
	}
	o.clientCPU = 2
	if apart.how(o) != "eventfd" {
		t.Error("polling on the back end's CPU")
	}
}

func TestLoadsBecomeArguments(t *testing.T) {
	o := defaults()
	o.seconds, o.size = 2*time.Second, 1<<30
	for _, c := range []struct {
		load load
		want string
	}{
		{load{write: true, bs: 4096, depth: 32}, "--rw=randwrite --bs=4096 --iodepth=32"},
		{load{bs: 4096, depth: 1}, "--rw=randread --bs=4096 --iodepth=1"},
		{load{write: true, seq: true, bs: 131072, depth: 8}, "--rw=write --bs=131072 --iodepth=8"},
		{load{seq: true, bs: 131072, depth: 8}, "--rw=read --bs=131072 --iodepth=8"},
	} {
		got := strings.Join(fioCommand("/disk/raw", c.load, &o), " ")
		if !strings.Contains(got, c.want) || !strings.Contains(got, "--runtime=2000ms --ramp_time=300ms") {
			t.Errorf("got %s", got)
		}
	}
}

func TestScratch(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "bench")
	inUse, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(parent, prefix+"123")
	if err := os.Mkdir(left, 0o777); err != nil {
		t.Fatal(err)
	}
	other, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a dead run left is still there")
	}
	if _, err := os.Stat(inUse.path); err != nil {
		t.Error("what a living run uses is gone")
	}
	other.remove()
	inUse.remove()
	if _, err := os.Stat(parent); err == nil {
		t.Error("something was left")
	}
}

func TestMemoryIsNoDisk(t *testing.T) {
	if onDisk("/proc") != nil { // whatever else /proc is
		t.Error("/proc was taken for a memory file system")
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("no /dev/shm")
	}
	if err := onDisk("/dev/shm"); err == nil {
		t.Error("/dev/shm was taken for a disk")
	}
	if err := hasRoom("/dev/shm", 1<<60); err == nil {
		t.Error("/dev/shm has room for everything")
	}
}

func TestMachine(t *testing.T) {
	m, err := report.Describe(filepath.Join(t.TempDir(), "not", "yet"))
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU == "" || m.CPUs < 1 || m.Memory == 0 || m.Kernel == "" || m.Disk == "" || m.FileSystem == "" {
		t.Errorf("got %+v", m)
	}
}

func TestCompareSaysWhatIsMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := compare(os.Stdout, nil); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("got %v", err)
	}
	if err := compare(os.Stdout, []string{"a", "b"}); err == nil {
		t.Error("nothing was compared with nothing")
	}
	if _, _, err := report.Newest(results); err == nil {
		t.Error("nothing is the newest")
	}
}
