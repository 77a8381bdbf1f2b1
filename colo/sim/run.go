package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/belay-vm/belay/colo"
)

// Options say what world it is.
type Options struct {
	Seed   uint64
	Broken colo.Rule // rules that both machines leave out
	Trace  bool
	only   []fault // draw faults out of these
}

// Result is what became of it.
type Result struct {
	Checkpoints int
	Violation   string
	Lives       []Life
	Trace       []string
}

// Life is one pair's, from its start to what its faults made of it.
type Life struct {
	Fault string
	End   string // who serves then
}

// mostLives is how often a survivor gets a new peer.
const mostLives = 4

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
	protectedAt time.Duration // 0: s had not reported at the fault
	slowness    time.Duration
	renewing    time.Duration // when p sent the question that s is answering
	fault       fault
	second      fault
	violation   string
	only        []fault
	broken      colo.Rule
	qemus       []*qemu
	pairs       int           // made so far
	born        time.Duration // the newest one
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
	w.on = o.Trace
	w.disks, w.queues = 1+w.rng.IntN(maxDisks), 1+w.rng.IntN(maxQueues)
	w.first()
	var lives []Life
	for survived := true; survived && len(lives) < mostLives && !w.failed(); {
		w.pair()
		lives = append(lives, w.live())
		survived = w.settle(lives[len(lives)-1].End)
	}
	for _, q := range w.qemus {
		q.main.stop()
	}
	return Result{w.checkpoints, w.violation, lives, w.lines}
}

// live is one pair's life: some time without a fault, the fault, and what comes of it.
func (w *world) live() Life {
	w.runUntil(w.now+w.life(), w.failed)
	w.strike()
	w.runUntil(w.now+500*time.Millisecond, w.failed)
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
	w.p = w.newSide("p", &primary{colo.Primary{}.Without(w.broken)})
	q := w.p.qemu
	for d := range w.disks {
		if w.chance(0.8) {
			q.bindFirst(d)
		}
	}
	q.main = w.spawn(q.runPrimary)
	w.rule()
}

// newSide is a backend and its QEMU.
func (w *world) newSide(name string, m machine) *backend {
	b, q := w.newBackend(name), w.newQEMU("QEMU "+name)
	b.machine, b.qemu, q.backend = m, q, b
	w.qemus = append(w.qemus, q)
	q.mischief()
	return b
}

// pair gives the survivor a new peer.
func (w *world) pair() {
	w.s = w.newSide("s", &secondary{colo.Secondary{}.Without(w.broken)})
	p, s := w.p, w.s
	p.peer, s.peer = s, p
	p.qemu.peer, s.qemu.peer = s.qemu, p.qemu
	p.name, p.qemu.name = "p", "QEMU p"
	p.serving, p.lost, p.witness, p.mirror.cut, p.mirror.slow = false, false, true, false, 0
	p.qemu.renewPeer()
	s.qemu.main = w.spawn(s.qemu.runSecondary)
	w.granted, w.fault, w.second, w.slowness = 0, faultNone, faultNone, 0
	w.told, w.ended, w.protectedAt = 0, false, 0
	w.pairs++
	w.born = w.now
	number := w.pairs
	w.after(time.Millisecond, func() {
		p.take(colo.PeerUp{})
		s.take(colo.PeerUp{})
		p.renew(number)
	})
	w.after(w.between(2*time.Millisecond, 6*time.Millisecond), func() { p.take(colo.Synced{}) })
}

// renewPeer forgets the peer that was.
func (q *qemu) renewPeer() {
	q.broken, q.ordered, q.heartbeat, q.frozen, q.deaf = false, false, false, false, false
	q.in, q.wire.cut = nil, false
}

// settle buries who does not serve, and says whether the other one can have a new peer.
func (w *world) settle(end string) bool {
	var survivor *backend
	switch end {
	case "p":
		survivor = w.p
		if w.p.machine.(*primary).Phase() != colo.PrimaryAlone {
			return false // nothing happened to the pair
		}
	case "s":
		survivor = w.s
		m, ok := w.s.machine.(*secondary).AsPrimary()
		if !ok {
			return false
		}
		w.s.machine = &primary{m}
	default:
		return false
	}
	old := survivor.peer
	old.dead, old.mirror.cut, old.qemu.wire.cut = true, true, true
	old.qemu.die()
	w.p = survivor
	return !survivor.qemu.ordered && !survivor.fails
}

// bindFirst has a device ready before the VM runs; its start comes with the VM's.
func (q *qemu) bindFirst(d int) {
	for i := range q.queues {
		q.mem.ring[d][i] = vring{setup: q.rng.Uint64()}
	}
	q.mem.ready[d] = true
}

// rule watches the deadline on p.
func (w *world) rule() {
	w.after(time.Millisecond, func() {
		if w.now >= w.p.until {
			w.p.take(colo.DeadlinePassed{})
		}
		w.rule()
	})
}

// judge says who serves at the end, and whether that is who must.
func (w *world) judge() string {
	p := !w.p.dead && w.p.qemu.alive && !w.p.stopped && w.p.until > w.now
	s := w.s.serving && !w.s.dead && w.s.qemu.alive && !w.s.stopped
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
	return end
}
