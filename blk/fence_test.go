package blk

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// testFence says yes or no when it is told to, and notes failures.
type testFence struct {
	answer chan Verdict // nil: Show

	mu     sync.Mutex
	failed []error
}

func (f *testFence) Pass(mayLeave func() bool) Verdict {
	if f.answer == nil {
		return Show
	}
	for {
		select {
		case v := <-f.answer:
			return v
		case <-time.After(time.Millisecond):
			if mayLeave() {
				return Later
			}
		}
	}
}

func (f *testFence) Look() {}

func (f *testFence) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, err)
}

// fenced starts a request that is done in the store and held by the fence.
func fenced(t *testing.T, front vhosttest.Options) (*served, *vhosttest.Disk, *testFence) {
	t.Helper()
	fence := &testFence{answer: make(chan Verdict)}
	store := newFileStore(t, diskSize, true)
	s := serve(t, store, Options{Engine: aio.Inline, Fence: fence}, front)
	d := s.disk(t, 0, 1, 512)
	r := d.Get()
	r.Op, r.Len = vhosttest.OpRead, 512
	must(t, d.Submit(r))
	d.Kick()
	if done, err := d.Reap(nil); err != nil || len(done) != 0 {
		t.Fatalf("%d requests got past the fence, error %v", len(done), err)
	}
	return s, d, fence
}

// Completions wait for the fence and are shown when it lets them pass.
func TestFenceHolds(t *testing.T) {
	_, d, fence := fenced(t, vhosttest.Options{})
	fence.answer <- Show
	reapOne(t, d)
}

// reapOne waits for a request to be shown.
func reapOne(t *testing.T, d *vhosttest.Disk) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; n == 0; {
		done, err := d.Reap(nil)
		if err != nil || time.Now().After(deadline) {
			t.Fatal("the request is not shown:", err)
		}
		n = len(done)
		for _, r := range done {
			d.Put(r)
		}
	}
}

// A ring that is stopped while the fence holds completions back leaves them in flight: the guest sees nothing
// of them, and they are done again when it is started.
func TestFenceKeepsBack(t *testing.T) {
	for _, front := range []vhosttest.Options{{Inflight: true}, {Inflight: true, Packed: true}} {
		s, d, fence := fenced(t, front)
		must(t, s.Stop())
		if done, err := d.Reap(nil); err != nil || len(done) != 0 {
			t.Fatalf("packed %v: %d requests got past the fence, error %v", front.Packed, len(done), err)
		}
		must(t, s.Start())
		fence.answer <- Show
		reapOne(t, d)
		go func() { // one more request shows that the ring goes on where it should
			fence.answer <- Show
		}()
		must(t, d.Read(0, make([]byte, 512)))
	}
}

// A fence that says no is the end of the ring: nothing is shown to the guest.
func TestFenceEndsRing(t *testing.T) {
	_, d, fence := fenced(t, vhosttest.Options{})
	fence.answer <- Never
	if ok, err := d.Driver().WaitErr(10 * time.Second); err != nil || !ok {
		t.Fatalf("the ring's error was not signalled: %v", err)
	}
	if done, err := d.Reap(nil); err != nil || len(done) != 0 {
		t.Fatalf("%d requests shown to the guest, error %v", len(done), err)
	}
}

// The fence hears of what the store could not do, and not of the guest's own mistakes.
func TestFenceHearsOfFailures(t *testing.T) {
	fence := &testFence{}
	store := newFileStore(t, diskSize, true)
	broken := errors.New("the medium is broken")
	store.flushErr = broken
	s := serve(t, store, Options{Engine: aio.Inline, Fence: fence}, vhosttest.Options{})
	d := s.disk(t, 0, 1, 512)
	wantStatus(t, d.Read(diskSize/512, make([]byte, 512)), StatusIOError)
	wantStatus(t, d.Flush(), StatusIOError)
	fence.mu.Lock()
	defer fence.mu.Unlock()
	if len(fence.failed) != 1 || !errors.Is(fence.failed[0], broken) {
		t.Errorf("told of %v, want %v alone", fence.failed, broken)
	}
}
