package blk

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A machine with several disks is stopped disk by disk, and a mirrored pair needs all of them still
// before the first is reported as stopped: it pauses the others.

// pauses is the state of pausing of a device. Workers look at on, once per round; the rest is guarded
// by mu.
type pauses struct {
	on atomic.Bool

	mu     sync.Mutex
	change sync.Cond      // of loops
	loops  map[*loop]bool // that serve a ring -> it is still
}

// Pause has every ring finish and publish what was taken from it, as far as the fence lets it, and take no
// more, and returns when all of them are still. Rings that start meanwhile are still from the beginning.
func (d *Device) Pause() {
	p := &d.pauses
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on.Store(true)
	for l := range p.loops {
		l.nudge()
	}
	if d.opts.Fence != nil {
		d.opts.Fence.Look()
	}
	for !p.still() {
		p.change.Wait()
	}
}

// Resume ends a Pause.
func (d *Device) Resume() {
	p := &d.pauses
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on.Store(false)
	for l := range p.loops {
		l.nudge()
	}
}

func (p *pauses) still() bool {
	for _, still := range p.loops {
		if !still {
			return false
		}
	}
	return true
}

// serving notes that a loop begins to serve a ring, or ends.
func (p *pauses) serving(l *loop, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.loops[l] = false
	} else {
		delete(p.loops, l)
	}
	p.change.Broadcast()
}

// isStill notes whether a loop is still, and reports whether it shall be.
func (p *pauses) isStill(l *loop, still bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loops[l] = still && p.on.Load()
	p.change.Broadcast()
	return p.on.Load()
}

// nudge wakes the loop's worker: the lane finds nothing in its mail.
func (l *loop) nudge() {
	one := [8]byte{1}
	_, _ = unix.Write(l.lane.WakeFD(), one[:]) // full means that it is readable already
}

// rest keeps a loop still, with nothing in flight, until the pause is over or the ring stops.
func (l *loop) rest() error {
	defer l.dev.pauses.isStill(l, false)
	for l.dev.pauses.isStill(l, true) && !l.over() {
		n, err := l.engine.Wait(l.events, true)
		if err != nil {
			return err
		}
		for _, c := range l.events[:n] {
			l.handle(c)
		}
	}
	return nil
}
