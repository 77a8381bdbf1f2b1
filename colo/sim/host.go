package sim

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/belay-vm/belay/colo"
)

// Host is a side's way to the world. Do and Post may be called by any goroutine; the rest only by what was
// posted, and by Side's methods.
type Host struct{ b *backend }

// Do carries out what concerns the rings and QEMU.
func (h *Host) Do(a colo.Action) {
	from := uint64(0)
	switch a.(type) { // what has a goroutine of its own
	case colo.Yank:
		from = 1
	case colo.LostHeartbeat:
		from = 2
	case colo.DrainAll:
		from = 3
	case colo.StartColo:
		from = 4
	}
	h.Post(from, func() {
		if !h.b.dead && !h.b.doRings(a) && !h.b.doQEMU(a) {
			h.b.failf("%s: nobody does %T", h.b.name, a)
		}
	})
}

// Post has the world do something when everybody is at rest. What goroutines want done that run at the same
// time is done in the order of from, so that who came first by chance makes no difference.
func (h *Host) Post(from uint64, f func()) { h.b.inbox.put(from, f) }

// First is where the numbers begin that Post may be given.
const First = 8

// After has it done after a time, unless the side is dead by then.
func (h *Host) After(d time.Duration, f func()) {
	h.b.after(d, func() {
		if !h.b.dead {
			f()
		}
	})
}

// Between is a random time.
func (h *Host) Between(least, most time.Duration) time.Duration { return h.b.between(least, most) }

// Chance is true so often.
func (h *Host) Chance(p float64) bool { return h.b.chance(p) }

// Number is a random number below n.
func (h *Host) Number(n int) int { return h.b.rng.IntN(n) }

// Send brings something over the link to the other side, after what was sent before; never if it is cut.
func (h *Host) Send(f func()) { h.b.mirror.send(f) }

// Peer is the other side, as it is now.
func (h *Host) Peer() Side { return h.b.peer.side }

// Linked says whether the other side is alive and the link is not cut.
func (h *Host) Linked() bool {
	return !h.b.dead && !h.b.peer.dead && !h.b.mirror.cut && !h.b.peer.mirror.cut
}

// Witness says whether the witness can be reached.
func (h *Host) Witness() bool { return h.b.witness && !h.b.dead }

// Now is the world's time.
func (h *Host) Now() time.Duration { return h.b.now }

// ClockAt is the host's boot clock at a time of the world. Any goroutine may ask.
func (h *Host) ClockAt(now time.Duration) time.Duration { return h.b.boot.at(now) }

// Disks is how many the guest has.
func (h *Host) Disks() int { return h.b.disks }

// Name is p or s.
func (h *Host) Name() string { return h.b.name }

// Count counts something that a tally tells.
func (h *Host) Count(what string, n int) { h.b.counts[what] += n }

// Failf says that a rule was broken.
func (h *Host) Failf(format string, args ...any) { h.b.failf(h.b.name+": "+format, args...) }

// Tracef notes what happens.
func (h *Host) Tracef(format string, args ...any) { h.b.tracef(h.b.name+": "+format, args...) }

// Traces says whether anybody reads that.
func (h *Host) Traces() bool { return h.b.on }

// Died is the end of the side by itself, in the middle of what it did.
func (h *Host) Died(power bool) { h.b.world.died(h.b, power) }

// inbox holds what goroutines of a side want done.
type inbox struct {
	mu   sync.Mutex
	list []wanted
	poke chan struct{} // of all inboxes of a world
}

type wanted struct {
	from uint64
	do   func()
}

func (i *inbox) put(from uint64, f func()) {
	i.mu.Lock()
	i.list = append(i.list, wanted{from, f})
	i.mu.Unlock()
	select {
	case i.poke <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []wanted {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := i.list
	i.list = nil
	slices.SortStableFunc(list, func(a, b wanted) int { return cmp.Compare(a.from, b.from) })
	return list
}

// pass lets time pass up to a moment, if nobody has anything to do before it. It is for sides that have
// goroutines.
func (w *world) pass(until time.Duration) bool {
	if w.sides == nil {
		w.now = until
		return true
	}
	w.now = w.sides.Sleep(until, w.poke)
	came := false
	for _, b := range w.backends {
		for _, f := range b.inbox.take() {
			came = true
			f.do()
		}
	}
	return !came && w.now >= until
}

// calm waits until nobody has anything to do at this time.
func (w *world) calm() {
	for !w.pass(w.now) {
	}
}
