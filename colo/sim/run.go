package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/belay-vm/belay/colo"
)

// Options say what world it is.
type Options struct {
	Seed   uint64
	Broken colo.Rule // rules that both machines leave out
	Trace  bool
	Sides  Sides   // nil: the model's
	Drift  float64 // by how much a clock may be fast or slow; 0: as much as it may
	Only   string  // the name of the only fault that happens; empty: any
	only   []fault // draw faults out of these
}

// Result is what became of it.
type Result struct {
	Checkpoints int
	Violation   string
	Lives       []Life
	Trace       []string
	Counts      map[string]int // of other things that happened
}

// Life is one pair's, from its start to what its faults made of it.
type Life struct {
	Fault string
	End   string // who serves then
}

// mostLives is how often a survivor gets a new peer.
const mostLives = 4

// usualDrift is by how much a clock may be fast or slow, so that s keeps its promise long enough by its own
// clock for p, which counts by another one.
const usualDrift = 0.02

// lives is how many there are at most. With real disks what one life leaves is the next one's beginning.
func (w *world) lives() int {
	if w.sides != nil {
		return 2 * mostLives
	}
	return mostLives
}

// world is one guest, and the pairs that serve it one after the other.
type world struct {
	clock
	trace
	disks, queues int
	p, s          *backend

	writes      uint64
	checkpoints int
	told        uint64 // the newest checkpoint that P's QEMU knows to be loaded
	ended       bool   // P's guest was shut down, and s was or could be told
	granted     colo.Claim
	disturbed   bool          // before it was protected
	protectedAt time.Duration // 0: s had not reported at the fault
	slowness    time.Duration
	fault       fault
	second      fault
	violation   string
	only        []fault
	broken      colo.Rule
	qemus       []*qemu
	pairs       int           // made so far
	born        time.Duration // the newest one

	drift    float64 // by which a clock may be fast or slow
	backends []*backend

	sides  Sides         // nil: the model
	poke   chan struct{} // somebody put something into an inbox
	spare  Side          // who had the disk that a new peer may get
	counts map[string]int
	before map[uint64]uint64 // what a block held when a write was asked for
}

func (w *world) tracef(format string, args ...any) { w.addf(w.now, format, args...) }

// failf notes the first rule that was broken.
func (w *world) failf(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
		w.tracef("VIOLATION: %s", w.violation)
	}
}

// primary and secondary are the machines.
type primary struct{ colo.Primary }

func newPrimary(broken colo.Rule) machine   { return &primary{colo.Primary{}.Without(broken)} }
func newSecondary(broken colo.Rule) machine { return &secondary{colo.Secondary{}.Without(broken)} }

func (p *primary) step(e colo.Event) (out []colo.Action) {
	p.Primary, out = p.Step(e)
	return out
}
func (p *primary) poisoned() bool { return p.Phase() == colo.PrimaryOut }
func (p *primary) String() string { return p.Phase().String() }

type secondary struct{ colo.Secondary }

func (s *secondary) step(e colo.Event) (out []colo.Action) {
	s.Secondary, out = s.Step(e)
	return out
}
func (s *secondary) poisoned() bool { return s.Phase() == colo.SecondaryPoisoned }
func (s *secondary) String() string {
	if s.poisoned() {
		return "poisoned: " + s.Why()
	}
	return s.Phase().String()
}

// Run lives pairs' lives until nobody survives, or it is enough.
func Run(o Options) Result {
	w := &world{clock: clock{rng: rand.New(rand.NewPCG(o.Seed, 7))}, only: o.only, broken: o.Broken}
	w.on, w.sides, w.drift = o.Trace, o.Sides, usualDrift
	if at := slices.Index(faultNames[:], o.Only); at >= 0 {
		w.only = []fault{fault(at)}
	}
	if o.Drift != 0 {
		w.drift = o.Drift
	}
	w.goTo, w.poke = w.pass, make(chan struct{}, 1)
	w.before, w.counts = map[uint64]uint64{}, map[string]int{}
	w.disks, w.queues = 1+w.rng.IntN(maxDisks), 1+w.rng.IntN(maxQueues)
	w.first()
	var lives []Life
	for survived := true; survived && len(lives) < w.lives() && !w.failed(); {
		w.pair()
		lives = append(lives, w.live())
		survived = w.settle(lives[len(lives)-1].End)
	}
	for _, q := range w.qemus {
		if q.main != nil { // it was started
			q.main.stop()
		}
	}
	return Result{w.checkpoints, w.violation, lives, w.lines, w.counts}
}

// live is one pair's life: some time without a fault, the fault, and what comes of it.
func (w *world) live() Life {
	w.runUntil(w.now+w.life(), w.failed)
	if s, ok := w.p.side.(interface{ Verify() }); ok && w.chance(0.3) {
		s.Verify()
		w.runUntil(w.now+w.between(0, 20*time.Millisecond), w.failed)
	}
	w.strike()
	w.runUntil(w.now+500*time.Millisecond, w.failed)
	w.calm()
	w.p.served, w.s.served, w.p.qemu.ticks, w.s.qemu.ticks = 0, 0, 0, 0
	w.runUntil(w.now+500*time.Millisecond, w.failed)
	return Life{End: w.judge(), Fault: w.faults()}
}

func (w *world) failed() bool { return w.violation != "" }

// life is how long the pair lives before the first fault.
func (w *world) life() time.Duration {
	if w.chance(0.1) {
		return w.between(0, 50*time.Millisecond) // while it starts
	}
	return w.between(50*time.Millisecond, time.Second)
}

// first is the guest before it has a pair: it runs on p.
func (w *world) first() {
	w.p = w.newSide("p", false, nil)
	q := w.p.qemu
	for d := range w.disks {
		if w.chance(0.8) {
			q.bindFirst(d)
		}
	}
	q.main = w.spawn(q.runPrimary)
}

// newSide is a backend and its QEMU, on the disk of a side that is dead, or on an empty one.
func (w *world) newSide(name string, secondary bool, disk Side) *backend {
	b := w.newHost(name)
	switch {
	case w.sides != nil:
		b.side = w.sides.New(&Host{b}, secondary, disk)
	case secondary:
		b.side = b.newModel(newSecondary(w.broken))
	default:
		b.side = b.newModel(newPrimary(w.broken))
	}
	return b
}

// newHost is a backend without a side.
func (w *world) newHost(name string) *backend {
	b, q := w.newBackend(name), w.newQEMU("QEMU "+name)
	b.qemu, q.backend = q, b
	w.qemus = append(w.qemus, q)
	q.mischief()
	return b
}

// pair gives the survivor a new peer: often the one that was, with the disk that it had.
func (w *world) pair() {
	disk := w.spare
	if w.sides != nil && w.chance(0.25) {
		disk = nil
	}
	w.s = w.newSide("s", true, disk)
	p, s := w.p, w.s
	p.peer, s.peer = s, p
	p.qemu.peer, s.qemu.peer = s.qemu, p.qemu
	p.name, p.qemu.name = "p", "QEMU p"
	p.serving, p.witness, p.mirror.cut, p.mirror.slow = false, true, false, 0
	p.qemu.renewPeer()
	s.qemu.main = w.spawn(s.qemu.runSecondary)
	w.granted, w.fault, w.second, w.slowness = 0, faultNone, faultNone, 0
	w.told, w.ended, w.protectedAt = 0, false, 0
	w.pairs++
	w.born = w.now
	w.disturbed = !p.side.Meet()
	if w.sides != nil && w.chance(0.25) {
		w.interrupt()
	}
}

// interrupt breaks the connection while the partners come together. The primary looks for the secondary
// again, which may have been too far already.
func (w *world) interrupt() {
	p, s := w.p, w.s
	w.after(w.between(time.Millisecond, 15*time.Millisecond), func() {
		if !p.dead && !s.dead && !p.side.State().Protected {
			w.tracef("the connection breaks")
			w.counts["connections broken before protection"]++
			w.disturbed = true
			p.lose("connection reset")
			s.lose("connection reset")
		}
	})
}

// renewPeer forgets the peer that was.
func (q *qemu) renewPeer() {
	q.broken, q.ordered, q.heartbeat, q.frozen, q.deaf = false, false, false, false, false
	q.in, q.wire.cut = nil, false
}

// settle buries who does not serve, and says whether the other one can have a new peer.
func (w *world) settle(end string) bool {
	w.calm()
	var survivor *backend
	switch end {
	case "p":
		survivor = w.p
	case "s":
		survivor = w.s
		if m, ok := w.s.side.(*model); ok {
			m.inherit()
		}
	default:
		return w.p.power && w.s.power && w.sides != nil && w.coldStart()
	}
	if !survivor.side.State().Alone {
		return false // nothing happened to the pair
	}
	old := survivor.peer
	if !old.dead {
		old.side.Die(false)
	}
	w.bury(old)
	w.p = survivor
	if survivor.qemu.ordered || survivor.fails {
		return false
	}
	if w.sides != nil && w.chance(0.2) && !survivor.qemu.stopping {
		w.restart()
	}
	return !w.failed()
}

// bury ends what may be left of a side. Its disk may come back.
func (w *world) bury(old *backend) {
	old.dead, old.mirror.cut, old.qemu.wire.cut = true, true, true
	old.qemu.die()
	w.spare = old.side
}

// bindFirst has a device ready before the VM runs; its start comes with the VM's.
func (q *qemu) bindFirst(d int) {
	for i := range q.queues {
		q.mem.ring[d][i] = vring{setup: q.rng.Uint64()}
	}
	q.mem.ready[d] = true
}

// judge says who serves at the end, and whether that is who must.
func (w *world) judge() string {
	w.calm()
	p := !w.p.dead && w.p.qemu.alive && w.p.side.State().Shows
	s := w.s.serving && !w.s.dead && w.s.qemu.alive && !w.s.side.State().Stopped
	end := "nobody"
	switch {
	case p && s:
		w.failf("both serve at the end: %v, %v", w.p, w.s)
	case p:
		end = "p"
	case s:
		end = "s"
	}
	if w.violation == "" {
		w.expect(end)
	}
	if b := map[string]*backend{"p": w.p, "s": w.s}[end]; b != nil && w.sides != nil {
		w.compare(b)
	}
	return end
}

// compare looks at all of the disks of who serves. One that failed when nobody else had the guest has lost
// what it would.
func (w *world) compare(b *backend) {
	if b.fails {
		return
	}
	for d := range w.disks {
		tags, err := w.sides.Content(b.side, d)
		if err == nil {
			err = b.expected(d).Match(tags)
		}
		if err != nil {
			w.failf("%s: disk %d at the end: %v (%v)", b.name, d, err, b)
		}
	}
}
