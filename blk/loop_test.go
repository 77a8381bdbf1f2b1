package blk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// load runs requests of 4 KiB on a part of the disk that is its own: each slot of the part is
// written, and read back, over and over, with as many in flight as the disk of requests allows.
type load struct {
	t     testing.TB
	d     *vhosttest.Disk
	base  uint64          // first sector
	slots []uint64        // number of the last write to each slot
	busy  map[uint64]bool // slots with a request in flight
	next  uint64
}

const slotSectors = 8

func newLoad(t testing.TB, d *vhosttest.Disk, part, slots int) *load {
	return &load{t: t, d: d, base: uint64(part * slots * slotSectors), slots: make([]uint64, slots),
		busy: map[uint64]bool{}}
}

// submit starts a request if one is free, and reports whether it did.
func (l *load) submit() bool {
	r := l.d.Get()
	if r == nil {
		return false
	}
	l.next++
	slot := l.next * 7 % uint64(len(l.slots))
	if l.busy[slot] {
		l.d.Put(r)
		return false
	}
	l.busy[slot] = true
	r.Op, r.Sector, r.Len, r.User = vhosttest.OpRead, l.base+slot*slotSectors, slotSectors*512, slot
	if l.next%3 != 0 {
		r.Op = vhosttest.OpWrite
		l.slots[slot] = l.next
		copy(r.Data(), l.content(slot))
	}
	must(l.t, l.d.Submit(r))
	return true
}

// content is what the last write put into a slot; nothing was before the first.
func (l *load) content(slot uint64) []byte {
	if l.slots[slot] == 0 {
		return make([]byte, slotSectors*512)
	}
	return randomBytes(l.slots[slot]*uint64(len(l.slots))+slot, slotSectors*512)
}

// reap checks what has finished.
func (l *load) reap(done []*vhosttest.Req, err error) int {
	l.t.Helper()
	must(l.t, err)
	for _, r := range done {
		must(l.t, r.Err())
		if r.Op == vhosttest.OpRead && !bytes.Equal(r.Data()[:r.Len], l.content(r.User)) {
			l.t.Fatalf("slot %d does not hold its last write", r.User)
		}
		delete(l.busy, r.User)
		l.d.Put(r)
	}
	return len(done)
}

// run does n requests, those in flight included, and leaves some in flight if keep is set.
func (l *load) run(n int, keep bool) {
	for done := 0; done < n; {
		for l.submit() {
		}
		l.d.Kick()
		done += l.reap(l.d.Wait(nil, 10*time.Second))
	}
	if !keep {
		l.drain()
	}
}

func (l *load) drain() {
	for l.d.InFlight() > 0 {
		l.reap(l.d.Wait(nil, 10*time.Second))
	}
}

// Two queues serve at once, each with its own part of the disk.
func TestQueuesInParallel(t *testing.T) {
	front := vhosttest.Options{Queues: 2, EventIdx: true, Indirect: true}
	eachEngine(t, Options{Queues: 2}, front, func(t *testing.T, s *served) {
		var both sync.WaitGroup
		for i := range 2 {
			l := newLoad(t, s.disk(t, i, 32, 4096), i, 100)
			both.Go(func() { l.run(2000, false) })
		}
		both.Wait()
		for i, q := range s.dev.Stats() {
			if n := q.Kinds[KindRead].Requests + q.Kinds[KindWrite].Requests; n < 2000 {
				t.Errorf("queue %d: %d requests were counted", i, n)
			}
		}
	})
}

// A stop under load: everything taken is finished before the answer, after it guest memory is
// left alone, and the rest is done after the next start.
func TestStopUnderLoad(t *testing.T) {
	for _, packed := range []bool{false, true} {
		front := vhosttest.Options{Packed: packed, EventIdx: true, QueueSize: 256, MemBytes: 8 << 20}
		eachEngine(t, Options{}, front, func(t *testing.T, s *served) {
			l := newLoad(t, s.disk(t, 0, 64, 4096), 0, 200)
			for range 20 {
				l.run(100, true)
				for l.submit() { // some that no kick tells of
				}
				must(t, s.Stop())
				before := bytes.Clone(s.Memory())
				if _, err := s.Capacity(); err != nil { // time for what should not happen
					t.Fatal(err)
				}
				if !bytes.Equal(before, s.Memory()) {
					t.Fatal("guest memory changed after the stop")
				}
				must(t, s.Start())
			}
			l.drain()
		})
	}
}

// gated starts a flush that the store does not finish before its gate is closed.
func gated(t *testing.T) (*served, *vhosttest.Disk) {
	t.Helper()
	store := newFileStore(t, diskSize, true)
	store.block()
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{})
	d := s.disk(t, 0, 1, 512)
	r := d.Get()
	r.Op = vhosttest.OpFlush
	must(t, d.Submit(r))
	d.Kick()
	<-store.arrived
	return s, d
}

// A stop waits for what the store is still doing, however long that takes.
func TestStopWaitsForTheStore(t *testing.T) {
	s, d := gated(t)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("the stop ended before the flush: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(s.store.gate)
	must(t, <-stopped)
	done, err := d.Reap(nil)
	if err != nil || len(done) != 1 || done[0].Err() != nil {
		t.Fatalf("after the stop: %d requests done, error %v", len(done), err)
	}
}

// A ring that breaks is given up, after what was taken from it is finished; a new start serves it.
func TestRingBreaks(t *testing.T) {
	s, d := gated(t)
	_, avail, _ := s.Queue(0).Areas()
	binary.LittleEndian.PutUint16(s.Memory()[avail+2:], 30000) // far more chains than there can be
	d.Driver().KickAlways()
	if ok, err := d.Driver().WaitErr(20 * time.Millisecond); ok || err != nil {
		t.Fatalf("the ring was given up with a request in flight: %v", err)
	}
	close(s.store.gate)
	if ok, err := d.Driver().WaitErr(10 * time.Second); err != nil || !ok {
		t.Fatalf("the ring's error was not signalled: %v", err)
	}
	must(t, s.Reset())
	must(t, s.Start())
	must(t, s.disk(t, 0, 1, 512).Flush())
}

// The memory table may change at any time: the ring is stopped and run again with the same kick.
func TestMemoryTableChangesUnderLoad(t *testing.T) {
	eachEngine(t, Options{}, vhosttest.Options{}, func(t *testing.T, s *served) {
		l := newLoad(t, s.disk(t, 0, 16, 4096), 0, 50)
		for range 20 {
			r, err := s.RAM().Plug(1 << 20)
			must(t, err)
			for l.submit() {
			}
			l.d.Kick()
			must(t, s.SendTable())
			l.drain()
			must(t, s.RAM().Unplug(r))
			for l.submit() {
			}
			l.d.Kick()
			must(t, s.SendTable())
			l.drain()
		}
	})
}

// Fewer requests than the ring has: the rest waits there and nobody starves.
func TestRingLargerThanTheTable(t *testing.T) {
	eachEngine(t, Options{Depth: 3}, vhosttest.Options{QueueSize: 512}, func(t *testing.T, s *served) {
		l := newLoad(t, s.disk(t, 0, 100, 4096), 0, 300)
		l.run(3000, false)
	})
}

func TestSpinning(t *testing.T) {
	eachEngine(t, Options{Spin: 200 * time.Microsecond}, vhosttest.Options{EventIdx: true},
		func(t *testing.T, s *served) {
			newLoad(t, s.disk(t, 0, 4, 4096), 0, 20).run(500, false)
			must(t, s.Stop())
			must(t, s.Start())
			newLoad(t, s.disk(t, 0, 1, 4096), 1, 20).run(100, false)
		})
}

func TestSpinnerAdapts(t *testing.T) {
	const us = int64(time.Microsecond)
	var now int64
	clock := func() int64 { return now }
	s := spinner{limit: 50 * time.Microsecond}
	idleFor := func(d int64) {
		s.busy()
		now++
		s.on(clock)
		now += d
		s.woke(clock())
	}
	for _, row := range []struct{ idle, window int64 }{
		{10 * us, 8 * us}, {10 * us, 16 * us}, {49 * us, 32 * us}, {10 * us, 50 * us},
		{10 * us, 50 * us}, {51 * us, 0}, {1000 * us, 0}, {10 * us, 8 * us},
	} {
		if idleFor(row.idle); int64(s.window) != row.window {
			t.Fatalf("after a sleep of %d ns the window is %v, want %d ns", row.idle, s.window, row.window)
		}
	}
}

// Without a kick eventfd the ring is looked at by itself.
func TestFrontEndThatDoesNotKick(t *testing.T) {
	const noFD = 1 << 8
	eachEngine(t, Options{}, vhosttest.Options{}, func(t *testing.T, s *served) {
		must(t, s.Stop())
		must(t, s.Prepare())
		d := s.Queue(0)
		must(t, s.StartRing(d))
		must(t, s.Tell(vhosttest.SetVringKick, []byte{0, noFD >> 8, 0, 0, 0, 0, 0, 0}))
		must(t, s.EnableAll(true))
		newLoad(t, s.disk(t, 0, 4, 4096), 0, 20).run(50, false)
	})
}

// A kick descriptor that is no eventfd breaks the ring; package vhostuser takes none, but what
// is watched for ever has to be checked where it is watched.
func TestKickThatIsNone(t *testing.T) {
	for _, row := range []struct {
		res  int32
		want string
	}{
		{8, ""},
		{-int32(unix.EINTR), ""},
		{-int32(unix.EAGAIN), ""},
		{0, "queue 0: read 0 bytes from the kick eventfd, want 8"},
		{-int32(unix.EISDIR), "queue 0: read the kick eventfd: is a directory"},
	} {
		l := &loop{dev: new(Device), q: new(vhostuser.Queue)}
		l.handle(aio.Completion{Tag: tagKick, Res: row.res})
		switch {
		case row.want == "" && l.ringErr == nil:
		case l.ringErr != nil && l.ringErr.Error() == row.want:
		default:
			t.Errorf("a kick that reads %d gave %v", row.res, l.ringErr)
		}
	}
}

func TestWriteThrough(t *testing.T) {
	store := newFileStore(t, diskSize, true)
	store.record = true
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{})
	d := s.disk(t, 0, 1, 512)
	change := func(want ...bio.Op) {
		t.Helper()
		store.takeOps()
		must(t, d.Write(0, make([]byte, 512)))
		must(t, d.Discard(0, 8))
		must(t, d.WriteZeroes(0, 8, false))
		must(t, d.Read(0, make([]byte, 512)))
		if got := store.takeOps(); !slices.Equal(got, want) {
			t.Fatalf("the store did %v, want %v", got, want)
		}
	}
	cached := []bio.Op{bio.Write, bio.Discard, bio.WriteZeroes, bio.Read}
	change(cached...)
	must(t, s.WriteConfig(writebackOffset, []byte{0}))
	change(bio.Write, bio.Flush, bio.Discard, bio.Flush, bio.WriteZeroes, bio.Flush, bio.Read)
	must(t, s.WriteConfig(writebackOffset, []byte{1}))
	change(cached...)
}

// A guest that cannot flush gets its writes flushed.
func TestGuestThatCannotFlush(t *testing.T) {
	store := newFileStore(t, diskSize, true)
	store.record = true
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{Decline: featFlush | featConfigWCE})
	must(t, s.disk(t, 0, 1, 512).Write(0, make([]byte, 512)))
	if got := store.takeOps(); !slices.Equal(got, []bio.Op{bio.Write, bio.Flush}) {
		t.Fatalf("the store did %v", got)
	}
}

func TestFailedFlush(t *testing.T) {
	store := newFileStore(t, diskSize, true)
	store.flushErr = errors.New("the medium is broken")
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{})
	d := s.disk(t, 0, 1, 512)
	wantStatus(t, d.Flush(), StatusIOError)
	wantStatus(t, d.Write(0, make([]byte, 512)), StatusOK)
	must(t, s.WriteConfig(writebackOffset, []byte{0}))
	wantStatus(t, d.Write(0, make([]byte, 512)), StatusIOError)
}

func TestDiskGrows(t *testing.T) {
	store := newFileStore(t, diskSize, true)
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{})
	d := s.disk(t, 0, 1, 512)
	wantStatus(t, d.Write(sectors, make([]byte, 512)), StatusIOError)
	store.resize(t, 2*diskSize)
	if n, err := s.Capacity(); err != nil || n != 2*sectors {
		t.Fatalf("capacity %d, error %v", n, err)
	}
	wantStatus(t, d.Write(sectors, make([]byte, 512)), StatusOK)
}
