package checkpoint

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

// allocRig is a lane on a real file with a real engine.
type allocRig struct {
	s        *Store
	eng      aio.Engine
	lane     bio.Lane
	requests []bio.Request
	events   []aio.Completion
	done     []*bio.Request
}

func newAllocRig(t *testing.T, kind aio.Kind, depth int) *allocRig {
	t.Helper()
	// So much room that background work, whose allocations would be counted too, stays away.
	roomy := &tuning{regionSlots: 256, growSlots: 1 << 18, minSlack: 1 << 18, unprovenBlocks: 1 << 40,
		intentSlots: 256}
	s := open(t, newVolume(t, CreateOptions{Size: 64 << 20}), Options{tuning: roomy})
	return newAllocRigOn(t, s, kind, depth)
}

func newAllocRigOn(t *testing.T, s *Store, kind aio.Kind, depth int) *allocRig {
	t.Helper()
	r := newBareAllocRig(t, s, kind, depth)
	t.Cleanup(func() {
		r.close(t)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newBareAllocRig is for who closes the rig and the store himself.
func newBareAllocRig(t *testing.T, s *Store, kind aio.Kind, depth int) *allocRig {
	t.Helper()
	eng, err := aio.New(kind, depth)
	if err != nil {
		t.Fatal(err)
	}
	lane, err := s.NewLane(depth, eng)
	if err != nil {
		t.Fatal(err)
	}
	r := &allocRig{s: s, eng: eng, lane: lane, requests: make([]bio.Request, depth),
		events: make([]aio.Completion, depth), done: make([]*bio.Request, 0, depth)}
	eng.Watch(lane.WakeFD(), wakeTag)
	mem := alignedBytes(depth * 8192)
	for i := range r.requests {
		p := mem[i*8192:][:8192]
		r.requests[i] = bio.Request{Tag: uint32(i), Len: 8192,
			Iov: []unix.Iovec{vectorOf(p[:4096]), vectorOf(p[4096:])}}
	}
	return r
}

func (r *allocRig) close(t *testing.T) {
	r.eng.Unwatch(wakeTag)
	if _, err := r.eng.Wait(r.events, true); err != nil {
		t.Error(err)
	}
	for _, end := range []func() error{r.lane.Close, r.eng.Close} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

const wakeTag = 1

// batch runs one batch of requests to its end.
func (r *allocRig) batch(t *testing.T, op bio.Op, at func(i int) int64) {
	for i := range r.requests {
		r.requests[i].Op, r.requests[i].Off = op, at(i)
		r.lane.Submit(&r.requests[i])
	}
	r.lane.Dispatch()
	for left := len(r.requests) - r.settle(t); left > 0; left -= r.settle(t) { // some are done at once
		n, err := r.eng.Wait(r.events, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.events[:n] {
			if e.Tag == wakeTag {
				r.lane.Wake()
				r.eng.Watch(r.lane.WakeFD(), wakeTag)
				continue
			}
			r.lane.Complete(e.Tag, e.Res)
		}
	}
}

// settle takes what is done and returns how many that were.
func (r *allocRig) settle(t *testing.T) int {
	r.done = r.lane.Settle(r.done[:0])
	for _, d := range r.done {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return len(r.done)
}

// TestNoAllocation holds the hot path to no allocation for whole blocks, for writes that must be
// merged and for reads.
func TestNoAllocation(t *testing.T) {
	runtime.LockOSThread() // an engine is used by the thread that made it
	for _, kind := range []aio.Kind{aio.Uring, aio.Inline} {
		r := newAllocRig(t, kind, 32)
		for _, c := range []struct {
			name string
			op   bio.Op
			skew int64
		}{{"write", bio.Write, 0}, {"merge", bio.Write, 512}, {"read", bio.Read, 0}, {"odd read", bio.Read, 1536}} {
			round := int64(0)
			at := func(i int) int64 { return (int64(i)*37+round*11)%4000*8192 + c.skew }
			for range 100 {
				round++
				r.batch(t, c.op, at)
			}
			n := 1.0
			for range 5 { // what an operation holds grows to the size it needs, the seldom used ones late
				n = min(n, testing.AllocsPerRun(50, func() { round++; r.batch(t, c.op, at) }))
			}
			if n > 0 {
				t.Errorf("%s, %s: %v allocations for a batch of 32", kind, c.name, n)
			}
		}
	}
}

// TestNoAllocationForQuickFlushes holds small writes with flushes between them to the same.
func TestNoAllocationForQuickFlushes(t *testing.T) {
	runtime.LockOSThread()
	for _, kind := range []aio.Kind{aio.Uring, aio.Inline} {
		r := newAllocRig(t, kind, 2)
		for i := range r.requests {
			r.requests[i].Len = 4096
			r.requests[i].Iov = r.requests[i].Iov[:1]
		}
		memory := [2][]unix.Iovec{r.requests[0].Iov, r.requests[1].Iov}
		round := int64(0)
		cycle := func() {
			round++
			for i := range r.requests {
				r.requests[i].Len, r.requests[i].Iov = 4096, memory[i]
			}
			r.batch(t, bio.Write, func(i int) int64 { return (round*2 + int64(i)) % 4000 * 4096 })
			for i := range r.requests {
				r.requests[i].Len, r.requests[i].Iov = 0, nil
			}
			r.batch(t, bio.Flush, func(int) int64 { return 0 })
		}
		for range 40 {
			cycle()
		}
		quick := r.s.stats.quick.Load()
		n := testing.AllocsPerRun(50, cycle)
		if got := r.s.stats.quick.Load() - quick; n > 0 || got < 50 {
			t.Errorf("%s: %v allocations for two writes and two flushes, %d of 51 quick", kind, n, got)
		}
	}
}
