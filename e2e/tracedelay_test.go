//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// TestSlowDevice lets the disk below take only so many reads a second, then only so many writes.
// What that adds to a request has to be with the device, and only for those that were slowed down.
func TestSlowDevice(t *testing.T) {
	if !mayTrace(t) {
		return
	}
	w := emptyWorld(t, guest.Disk{})
	slow := newSlowDisk(t, 256<<20)
	cli(t, "create", w.volume, "--size", "64M", "--data", slow.path, "--force")
	w.serve()
	slow.admit(w.server.PID())
	w.load("--fill")
	w.count()
	const perSecond = 50
	load := func(requests int) func() {
		return func() {
			w.load("--op", "rw", "--mix", "50", "--depth", "4", "--requests", fmt.Sprint(requests))
		}
	}
	usual := w.delta(load(20_000))
	slow.limit("read", perSecond)
	slowed := w.delta(load(200))
	added(t, "read", usual, slowed, device)
	spared(t, "write", slowed, "read")

	slow.limit("read", 0)
	slow.limit("write", perSecond)
	slowed = w.delta(load(200))
	added(t, "write", usual, slowed, device)
	spared(t, "read", slowed, "write")
	slow.limit("write", 0)
	w.stop()
}

// TestStalledQueue stops the server while a request is put into the ring. Its worker polls, so that
// it has looked at the ring just before.
func TestStalledQueue(t *testing.T) {
	if !mayTrace(t) {
		return
	}
	w := emptyWorld(t, guest.Disk{})
	w.b.create(t, w.volume, "64M")
	w.flags = []string{"--poll-us", "1000000"}
	w.serve()
	w.load("--fill")
	w.count()
	disk := w.play()
	n := uint64(0)
	read := func(times int, before, after func()) {
		for range times {
			readOne(t, disk, before, after)
			n++
			w.awaitTraced("read", n) // then the worker is polling again
		}
	}
	nothing := func() {}
	read(20, nothing, nothing) // it polls for as long as it has found that to pay, up to --poll-us
	usual := w.delta(func() { read(10, nothing, nothing) })
	stalled := w.delta(func() {
		read(10, w.freeze, func() {
			<-time.After(50 * time.Millisecond) // that is what is measured
			w.signal(syscall.SIGCONT)
		})
	})
	added(t, "read", usual, stalled, ring)
}

// awaitTraced waits until so many requests of a type were counted, since the counting began.
func (w *world) awaitTraced(name string, n uint64) {
	w.t.Helper()
	deadline := time.Now().Add(daemon.Patience)
	for w.traced()[name].Requests < n {
		if time.Now().After(deadline) {
			w.t.Fatalf("fewer than %d requests were counted in %v", n, daemon.Patience)
		}
	}
}

// play plays the guest on one queue.
func (w *world) play() *vhosttest.Disk {
	w.t.Helper()
	front, err := vhosttest.Connect(w.socket, vhosttest.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = front.Close() })
	if err := front.Start(); err != nil {
		w.t.Fatal(err)
	}
	disk, err := vhosttest.NewDisk(front.Queue(0), 8, 4096)
	if err != nil {
		w.t.Fatal(err)
	}
	return disk
}

// readOne reads a block; before and after are called around putting the request into the ring.
func readOne(t *testing.T, disk *vhosttest.Disk, before, after func()) {
	t.Helper()
	r := disk.Get()
	r.Op, r.Sector, r.Len = vhosttest.OpRead, 0, 4096
	before()
	err := disk.Submit(r)
	disk.Kick()
	after()
	if err == nil {
		_, err = disk.Wait(nil, daemon.Patience)
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	disk.Put(r)
}

// freeze stops the server, and returns when all its threads stand still.
func (w *world) freeze() {
	w.t.Helper()
	w.signal(syscall.SIGSTOP)
	deadline := time.Now().Add(daemon.Patience)
	for !frozen(w.t, w.server.PID()) {
		if time.Now().After(deadline) {
			w.t.Fatal("the server does not stop")
		}
		<-time.After(time.Millisecond)
	}
}

func (w *world) signal(sig syscall.Signal) {
	w.t.Helper()
	if err := syscall.Kill(w.server.PID(), sig); err != nil {
		w.t.Fatal(err)
	}
}

func frozen(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("the server's threads: %v", err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		// The name is in parentheses and may have some itself; the state follows.
		if _, state, _ := cutLast(string(stat), ") "); err != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// delta is what the tracer's map counts during f.
func (w *world) delta(f func()) map[string]parts {
	w.t.Helper()
	before := w.traced()
	f()
	after := w.traced()
	for name, b := range before {
		a := after[name]
		a.Requests -= b.Requests
		for i := range a.Ns {
			a.Ns[i] -= b.Ns[i]
		}
		after[name] = a
	}
	return after
}

// added demands that nine tenths of what requests of a type took longer than usual are in one part.
func added(t *testing.T, name string, usual, slowed map[string]parts, part int) {
	t.Helper()
	was, is := mean(usual[name]), mean(slowed[name])
	more, inPart := is[total]-was[total], is[part]-was[part]
	t.Logf("%s: usually %v; now %v", name, was, is)
	if more < 4*was[total] {
		t.Errorf("%s: %v more are too few to be judged", name, more)
	}
	if inPart < more*9/10 || inPart > more*11/10 {
		t.Errorf("%s: of %v more, %v are in %s", name, more, inPart, partNames[part])
	}
}

// spared demands that requests of a type have less than a tenth of the delay of another.
func spared(t *testing.T, name string, slowed map[string]parts, other string) {
	t.Helper()
	is, delayed := mean(slowed[name]), mean(slowed[other])
	t.Logf("%s meanwhile: %v", name, is)
	if is[total] > delayed[total]/10 {
		t.Errorf("%s: slow, too, though only each %s was slowed down", name, other)
	}
}

// times are how long a request took, in all and in each part.
type times [numParts]time.Duration

func mean(p parts) (all times) {
	for i := range all {
		all[i] = time.Duration(p.Ns[i] / max(p.Requests, 1)).Round(10 * time.Nanosecond)
	}
	return all
}

// String is for the test's log.
func (all times) String() string {
	var words []string
	for i, name := range partNames {
		words = append(words, fmt.Sprint(name, " ", all[i]))
	}
	return strings.Join(words, ", ")
}
