package checkpoint

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

var scaleAging = flag.Int64("scale.aging", 4, "GiB of the volumes that TestScaleAging ages")

// TestScaleAging overwrites a volume ten times at random while checkpoints come and go, fifty of
// them at a time, and compares how fast random writes are then with how fast they were at first.
// The full run is on the real device: what decides is how many free slots lie side by side, and
// what the device makes of it. The short run counts the former.
func TestScaleAging(t *testing.T) {
	for _, slack := range []int{30, 20, 10} {
		r := newAging(t, slack)
		r.run(r.blocks, true)
		fresh := r.measure()
		r.age(sized(10, 3))
		aged := r.measure()
		r.judge(slack, fresh, aged)
		r.close()
	}
}

// aging is a volume with 32 writes in flight and checkpoints that come and go beside them.
type aging struct {
	t      *testing.T
	s      *Store
	lane   bio.Lane
	dev    agingDevice
	rng    *rand.Rand
	blocks int // of the disk
	reqs   [scaleDepth]bio.Request
	done   []*bio.Request
	churn  churn
}

// agingPoints is how many checkpoints are kept. A fifth of the disk is written meanwhile.
func agingPoints() int { return sized(50, 10) }

func newAging(t *testing.T, slack int) *aging {
	t.Helper()
	runtime.LockOSThread() // an engine is used by the thread that made it
	a := &aging{t: t, rng: rand.New(rand.NewPCG(5, 6))}
	o := CreateOptions{Size: sized(*scaleAging<<30, int64(64<<20)), Slack: slack}
	opt := scaleOptions()
	if *scaleFull {
		a.s = open(t, newVolume(t, o), opt)
		a.dev = newRingDevice(t)
	} else {
		o.JournalSize = 4 << 20
		opt.tuning = &tuning{regionSlots: 256, growSlots: 512, minSlack: 512, unprovenBlocks: 4096}
		var err error
		if a.s, err = OpenOn(emptyFS{Dir(scaleVolume(t, o))}, opt); err != nil {
			t.Fatal(err)
		}
		a.dev = &instantDevice{}
	}
	a.blocks, a.churn = int(o.Size/blockSize), newChurn(a.s)
	var err error
	if a.lane, err = a.s.NewLane(scaleDepth, a.dev); err != nil {
		t.Fatal(err)
	}
	a.dev.begin(a.lane)
	for i := range a.reqs {
		a.reqs[i] = bio.Request{Op: bio.Write, Tag: uint32(i), Len: blockSize,
			Iov: []unix.Iovec{vectorOf(alignedBytes(blockSize))}}
	}
	return a
}

// run writes n blocks, in order or at random, 32 at a time in flight.
func (a *aging) run(n int, ordered bool) {
	begun := 0
	submit := func(q *bio.Request) {
		at := int64(begun)
		if !ordered {
			at = a.rng.Int64N(int64(a.blocks))
		}
		q.Off, q.Err = at*blockSize, nil
		begun++
		a.lane.Submit(q)
	}
	for i := range a.reqs {
		submit(&a.reqs[i])
	}
	a.lane.Dispatch()
	for a.lane.InFlight() > 0 {
		if err := a.dev.wait(a.lane); err != nil {
			a.t.Fatal(err)
		}
		a.done = a.lane.Settle(a.done[:0])
		for _, q := range a.done {
			if q.Err != nil {
				a.t.Fatal(q.Err)
			}
			if begun < n {
				submit(q)
			}
		}
		a.lane.Dispatch()
	}
}

// age overwrites the disk so many times, while checkpoints come and go.
func (a *aging) age(times int) {
	epoch := a.blocks / (agingPoints() * 5)
	for n := 0; n < times*a.blocks; n += epoch {
		a.churn.next()
		a.run(epoch, false)
	}
}

// pace is how fast writes were, and how many slots an operation of the device wrote.
type pace struct{ rate, run float64 }

// measure writes a quarter of the disk and takes the time of the writes. What checkpoints cost, and
// the work that follows a deletion, is measured elsewhere: the clock stands still meanwhile.
func (a *aging) measure() pace {
	slots, ops := a.dev.written()
	epoch := a.blocks / (agingPoints() * 5)
	var n int
	var took time.Duration
	for ; n < a.blocks/4; n += epoch {
		a.churn.next()
		a.rest()
		begun := time.Now()
		a.run(epoch, false)
		took += time.Since(begun)
	}
	moreSlots, moreOps := a.dev.written()
	return pace{float64(n) / took.Seconds(), float64(moreSlots-slots) / float64(moreOps-ops)}
}

// rest waits until nothing goes on beside the writes.
func (a *aging) rest() {
	a.churn.idle()
	for a.s.Status().Background != "idle" {
		runtime.Gosched()
	}
}

// judge compares, and holds the data area to its bound.
func (a *aging) judge(slack int, fresh, aged pace) {
	st := a.s.Status()
	if n := st.Points; n < agingPoints() || n > agingPoints()+2 {
		a.t.Errorf("%d checkpoints are kept", n)
	}
	space, step := st.DataArea-st.Punched, int64(a.s.tuning.growSlots)*blockSize
	bound := st.Used + max(st.Slack, int64(a.s.tuning.minSlack)*blockSize) + 2*step
	if space > bound {
		a.t.Errorf("slack %d %%: %d MiB of data area for %d in use, at most %d", slack, space>>20, st.Used>>20,
			bound>>20)
	}
	if aged.run < 1+float64(slack)/100 {
		a.t.Errorf("slack %d %%: free slots lie %.2f side by side", slack, aged.run)
	}
	name := fmt.Sprintf("random writes after 10x overwrite, %d checkpoints, slack %d %%", agingPoints(), slack)
	f := figure{Figure: name, Value: aged.rate, Unit: "writes/s", Against: fresh.rate, Met: true}
	if slack == 30 {
		f.Target, f.Met = "at least 0.7 of the new volume", aged.rate >= 0.7*fresh.rate
	}
	f.print(a.t)
	report(a.t, "slots that an operation writes then", aged.run, "slots")
	report(a.t, "in use of the data area", float64(st.Used)/float64(space)*100, "%")
	report(a.t, "data area, of what is live and retained", float64(space)/float64(st.Used)*100, "%")
}

func (a *aging) close() {
	for _, end := range []func() error{a.churn.end, a.dev.end, a.lane.Close, a.dev.close, a.s.Close} {
		if err := end(); err != nil {
			a.t.Error(err)
		}
	}
	runtime.UnlockOSThread()
}

// churn takes checkpoints and deletes old ones, on a goroutine of its own.
type churn struct {
	ask    chan bool // true: a checkpoint
	caught chan struct{}
	done   chan error
}

func newChurn(s *Store) churn {
	c := churn{ask: make(chan bool, 4), caught: make(chan struct{}), done: make(chan error, 1)}
	go func() { c.done <- c.loop(s) }()
	return c
}

func (c churn) loop(s *Store) error {
	var ids []uint32
	var failed error
	for more := range c.ask {
		if !more {
			c.caught <- struct{}{}
			continue
		}
		p, err := s.Checkpoint(context.Background(), fmt.Sprint("c", len(ids)))
		if ids = append(ids, p.ID); err == nil && len(ids) > agingPoints() {
			err = s.Delete(context.Background(), ids[len(ids)-1-agingPoints()])
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// next asks for another checkpoint. It waits while several were asked for.
func (c churn) next() { c.ask <- true }

// idle waits until all that was asked for is done.
func (c churn) idle() {
	c.ask <- false
	<-c.caught
}

func (c churn) end() error {
	close(c.ask)
	return <-c.done
}

// agingDevice is an engine that counts what it writes, and what waits for it.
type agingDevice interface {
	bio.Engine
	begin(bio.Lane)
	wait(bio.Lane) error
	written() (slots, ops int64)
	end() error // of what begin began
	close() error
}

// instantDevice moves nothing.
type instantDevice struct{ instantEngine }

func (*instantDevice) begin(bio.Lane) {}
func (*instantDevice) end() error     { return nil }
func (*instantDevice) close() error   { return nil }

func (d *instantDevice) written() (slots, ops int64) { return d.bytes / blockSize, d.ops }

func (d *instantDevice) wait(l bio.Lane) error {
	for _, c := range d.take() {
		l.Complete(c.tag, c.res)
	}
	p := []unix.PollFd{{Fd: int32(l.WakeFD()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(p, 0); n > 0 {
		var word [8]byte
		_, _ = unix.Read(l.WakeFD(), word[:])
	}
	l.Wake()
	return nil
}

// ringDevice is the real one.
type ringDevice struct {
	aio.Engine
	events []aio.Completion
	bytes  int64
	ops    int64
}

func newRingDevice(t *testing.T) *ringDevice {
	t.Helper()
	e, err := aio.New(aio.Uring, scaleDepth)
	if err != nil {
		t.Fatal(err)
	}
	return &ringDevice{Engine: e, events: make([]aio.Completion, scaleDepth)}
}

func (d *ringDevice) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	d.bytes, d.ops = d.bytes+bytesOf(iov), d.ops+1
	d.Engine.Writev(fd, iov, off, tag)
}

func (d *ringDevice) begin(l bio.Lane)            { d.Watch(l.WakeFD(), wakeTag) }
func (d *ringDevice) close() error                { return d.Close() }
func (d *ringDevice) written() (slots, ops int64) { return d.bytes / blockSize, d.ops }

func (d *ringDevice) wait(l bio.Lane) error {
	n, err := d.Wait(d.events, true)
	for _, e := range d.events[:n] {
		if e.Tag == wakeTag {
			l.Wake()
			d.Watch(l.WakeFD(), wakeTag)
			continue
		}
		l.Complete(e.Tag, e.Res)
	}
	return err
}

func (d *ringDevice) end() error {
	d.Unwatch(wakeTag)
	_, err := d.Wait(d.events, true)
	return err
}
