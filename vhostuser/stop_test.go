package vhostuser_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// stopDisk notes its stops and holds the front end up in them.
type stopDisk struct {
	*ramDisk
	hold chan struct{} // nil: not

	halts atomic.Int64 // how often rings were waited for

	mu    sync.Mutex
	stops [][]vhostuser.RingDigest
}

func (d *stopDisk) Halting() { d.halts.Add(1) }

func (d *stopDisk) Stopped(rings []vhostuser.RingDigest) {
	d.mu.Lock()
	d.stops = append(d.stops, rings)
	d.mu.Unlock()
	if d.hold != nil {
		<-d.hold
	}
}

func (d *stopDisk) seen() [][]vhostuser.RingDigest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.stops)
}

// TestStopIsToldOnce : a stop of several queues is told once, with what all of them held, before the
// first reply; what they hold is the same until a request is made.
func TestStopIsToldOnce(t *testing.T) { each(t, stopIsToldOnce) }

func stopIsToldOnce(t *testing.T, o vhosttest.Options) {
	o.Queues = 3
	d := &stopDisk{ramDisk: newRAMDisk(t, 1<<20, 3)}
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	must(t, newDisk(t, f, 1, 1, page).Write(0, make([]byte, page)))
	for range 2 {
		must(t, f.Stop())
		must(t, f.Start())
	}
	must(t, newDisk(t, f, 1, 1, page).Write(0, make([]byte, page)))
	must(t, f.Stop())
	stops := d.seen()
	if n := d.halts.Load(); n < 3 {
		t.Errorf("%d times told that rings are waited for, of three", n)
	}
	if len(stops) != 3 || len(stops[0]) != 3 {
		t.Fatalf("told %v: want three stops of three rings", stops)
	}
	if !slices.Equal(stops[0], stops[1]) {
		t.Error("rings differ though nothing was requested:", stops[:2])
	}
	if stops[1][1] == stops[2][1] || stops[1][0] != stops[2][0] {
		t.Error("a request in queue 1 shows wrongly:", stops[1:])
	}
}

// TestStopWaits : the reply to GET_VRING_BASE waits for the device, and nothing of any queue is served
// until a ring starts again.
func TestStopWaits(t *testing.T) { each(t, stopWaits) }

func stopWaits(t *testing.T, o vhosttest.Options) {
	o.Queues = 2
	d := &stopDisk{ramDisk: newRAMDisk(t, 1<<20, 2), hold: make(chan struct{})}
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	other := newDisk(t, f, 1, 8, page)
	answered := make(chan error, 1)
	go func() {
		_, err := f.GetBase(0)
		answered <- err
	}()
	eventually(t, "the stop is told", func() bool { return len(d.seen()) == 1 })
	before := d.executed.Load()
	read(t, other, 4)
	select {
	case <-answered:
		t.Fatal("answered while the device held the stop up")
	case <-time.After(short):
	}
	close(d.hold)
	must(t, <-answered)
	must(t, f.Enable(1, true))
	if n := d.executed.Load(); n != before {
		t.Errorf("%d requests served in a stop", n-before)
	}
	must(t, f.StartRing(f.Queue(0)))
	reap(t, other, 4)
}

// keepingDisk keeps back what it completed, or takes nothing, in the Runs that say so.
type keepingDisk struct {
	*ramDisk
	took chan struct{}
	runs []func(*keepingDisk, *vhostuser.Queue) error // one after the other; then it serves
}

func (d *keepingDisk) Run(q *vhostuser.Queue) error {
	if len(d.runs) == 0 {
		return d.ramDisk.Run(q)
	}
	run := d.runs[0]
	d.runs = d.runs[1:]
	return run(d, q)
}

func keepBack(d *keepingDisk, q *vhostuser.Queue) error {
	var c vhostuser.Chain
	for ok := false; !ok && !q.Stopping(); {
		var err error
		if ok, err = q.Next(&c); err != nil {
			return err
		}
	}
	q.Complete(&c, 0)
	d.took <- struct{}{}
	return hold(d, q)
}

func hold(_ *keepingDisk, q *vhostuser.Queue) error {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(q.StopFD()), Events: unix.POLLIN}}, -1)
	return err
}

// TestKeptBackTwice : what a device kept back at a stop is done in the end, though the ring was started and
// stopped once more before the device came to it.
func TestKeptBackTwice(t *testing.T) { each(t, keptBackTwice) }

func keptBackTwice(t *testing.T, o vhosttest.Options) {
	o.Inflight = true
	d := &keepingDisk{ramDisk: newRAMDisk(t, 1<<20, 1), took: make(chan struct{}, 1)}
	d.runs = []func(*keepingDisk, *vhostuser.Queue) error{keepBack, hold}
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	disk := newDisk(t, f, 0, 1, page)
	read(t, disk, 1)
	<-d.took
	for range 2 {
		must(t, f.Stop())
		if done, err := disk.Reap(nil); err != nil || len(done) > 0 {
			t.Fatalf("%d requests were shown, error %v", len(done), err)
		}
		must(t, f.Start())
	}
	reap(t, disk, 1)
	must(t, disk.Read(0, make([]byte, page)))
}
