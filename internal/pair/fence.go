package pair

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/colo"
)

// fence holds back what the guest may not see yet, for all disks: completions while the time of
// ServeUntil is over and nobody knows who serves, and errors while somebody else could serve.
//
// QEMU waits for the rings that it stops, with its main loop, and so does a seal. If nobody says who serves
// for as long as a guest may be held up, they end with what is held back: those requests stay in flight,
// unseen, and are done once more, or shown, when the rings may run again.
type fence struct {
	clock func() time.Duration // boot time
	post  func(colo.Event)
	hold  time.Duration // how long those who stop rings wait for the fence

	until atomic.Int64 // time.Duration

	mu      sync.Mutex
	change  sync.Cond
	stopped bool
	passes  map[int]bool // disks whose errors the guest may see
	told    bool         // that the deadline has passed
	alarm   *time.Timer

	patience *time.Timer // of those who stop rings that wait here; nil: there are none
	over     bool        // it is, for all of them
}

func newFence(clock func() time.Duration, post func(colo.Event), hold time.Duration) *fence {
	f := &fence{clock: clock, post: post, hold: hold, passes: map[int]bool{}}
	f.change.L = &f.mu
	f.until.Store(int64(colo.Forever))
	return f
}

// serveUntil sets the deadline.
func (f *fence) serveUntil(t time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until.Store(int64(t))
	f.told, f.over = false, false
	if f.patience != nil {
		f.patience.Stop()
		f.patience = nil
	}
	f.change.Broadcast()
	if f.alarm != nil {
		f.alarm.Stop()
	}
	if t != colo.Forever {
		clear(f.passes) // somebody else could serve instead
		f.alarm = time.AfterFunc(max(0, t-f.clock()), f.check)
	}
}

// check says that the deadline has passed, if nobody is there to find it out.
func (f *fence) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
}

// open reports whether completions may pass. The mutex is held.
func (f *fence) open() bool {
	until := time.Duration(f.until.Load())
	if until == colo.Forever || f.clock() < until {
		return true
	}
	if !f.told && !f.stopped {
		f.told = true
		f.post(colo.DeadlinePassed{})
	}
	return false
}

// stop lets nothing pass any more.
func (f *fence) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.until.Store(0)
	for _, t := range []*time.Timer{f.alarm, f.patience} {
		if t != nil {
			t.Stop()
		}
	}
	f.change.Broadcast()
}

// passErrors lets the guest see a disk's errors.
func (f *fence) passErrors(disk int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passes[disk] = true
	f.change.Broadcast()
}

// Look is blk.Fence's.
func (f *fence) Look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change.Broadcast()
}

// Pass is blk.Fence's.
func (f *fence) Pass(mayLeave func() bool) blk.Verdict {
	until := time.Duration(f.until.Load())
	if until == colo.Forever || f.clock() < until {
		return blk.Show
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.stopped:
			return blk.Never
		case f.open():
			return blk.Show
		case !mayLeave():
		case f.over:
			return blk.Later
		case f.patience == nil:
			f.patience = time.AfterFunc(f.hold, f.letGo)
		}
		f.change.Wait()
	}
}

// letGo lets those leave who still wait and may.
func (f *fence) letGo() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patience, f.over = nil, !f.open()
	f.change.Broadcast()
}

// failed is blk.Fence's Failed.
func (f *fence) failed(disk int) {
	f.post(colo.WriteFailed{Disk: disk})
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.stopped && !f.passes[disk] {
		f.change.Wait()
	}
}

// of is the fence of one disk.
func (f *fence) of(disk int) blk.Fence { return diskFence{f, disk} }

type diskFence struct {
	*fence
	disk int
}

func (f diskFence) Failed(error) { f.failed(f.disk) }
