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
	Fault       string
	End         string // who serves
	Trace       []string
}

// world is one life of a pair.
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

// Run lives one pair's life from its start to what its faults make of it.
func Run(o Options) Result {
	w := &world{clock: clock{rng: rand.New(rand.NewPCG(o.Seed, 7))}}
	w.on, w.only = o.Trace, o.only
	w.build(o.Broken)
	w.begin()
	w.runUntil(w.life(), w.failed)
	w.strike()
	w.runUntil(w.now+500*time.Millisecond, w.failed)
	w.p.served, w.s.served, w.p.qemu.ticks, w.s.qemu.ticks = 0, 0, 0, 0
	w.runUntil(w.now+500*time.Millisecond, w.failed)
	end := w.judge()
	for _, b := range []*backend{w.p, w.s} {
		b.qemu.main.stop()
	}
	return Result{w.checkpoints, w.violation, w.faults(), end, w.lines}
}

func (w *world) failed() bool { return w.violation != "" }

// life is how long the pair lives before the first fault.
func (w *world) life() time.Duration {
	if w.chance(0.1) {
		return w.between(0, 50*time.Millisecond) // while it starts
	}
	return w.between(50*time.Millisecond, time.Second)
}

func (w *world) build(broken colo.Rule) {
	w.disks, w.queues = 1+w.rng.IntN(maxDisks), 1+w.rng.IntN(maxQueues)
	w.p, w.s = w.newBackend("p"), w.newBackend("s")
	w.p.machine = &primary{colo.Primary{}.Without(broken)}
	w.s.machine = &secondary{colo.Secondary{}.Without(broken)}
	w.p.peer, w.s.peer = w.s, w.p
	w.p.qemu, w.s.qemu = w.newQEMU("P"), w.newQEMU("S")
	w.p.qemu.backend, w.s.qemu.backend = w.p, w.s
	w.p.qemu.peer, w.s.qemu.peer = w.s.qemu, w.p.qemu
	w.p.qemu.main = w.spawn(w.p.qemu.runPrimary)
	w.s.qemu.main = w.spawn(w.s.qemu.runSecondary)
}

// begin is the world before the pair: P runs, s has what was on p's disk.
func (w *world) begin() {
	for d := range w.disks {
		if w.chance(0.8) {
			w.p.qemu.bindFirst(d)
		}
	}
	w.p.qemu.mischief()
	w.s.qemu.mischief()
	w.after(time.Millisecond, func() {
		w.p.take(colo.PeerUp{})
		w.s.take(colo.PeerUp{})
		w.p.renew()
	})
	w.after(w.between(2*time.Millisecond, 6*time.Millisecond), func() { w.p.take(colo.Synced{}) })
	w.rule()
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
