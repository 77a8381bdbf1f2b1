package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/belay-vm/belay/colo"
)

// machine is what both roles have in common.
type machine interface {
	step(colo.Event) []colo.Action
	poisoned() bool
	Bound() bool
	String() string
}

// request is one that was taken from a ring.
type request struct {
	ring colo.Ring
	w    uint64
	done bool // it is on the disk
}

// backRing is a ring as a backend sees it.
type backRing struct {
	started  bool
	released bool
	draining bool // nothing more is taken; a Drained is due
	inflight []*request
}

// backend is p or s: it carries out what its machine says.
type backend struct {
	*world
	name    string
	machine machine
	qemu    *qemu
	peer    *backend
	dead    bool
	guarded bool // QEMU's guard outlives this process

	mirror  pipe // to the peer
	express pipe // the same, for promises: they overtake
	lost    bool // the peer was told to be lost
	witness bool // the witness can be reached
	oob     pipe // to QEMU's monitor

	disk     [maxDisks]uint64
	staged   map[colo.Epoch][maxDisks]uint64
	ring     [maxDisks][maxQueues]backRing
	draining bool // all of them; a Quiesced is due

	until   time.Duration // of publishing
	stopped bool
	paused  time.Duration // not scheduled until then
	fails   bool          // its disk
	timers  [colo.Promise + 1]uint64
	asking  uint64 // counts questions to the witness
	serving bool   // s was promoted
	served  uint64 // requests published lately
}

func (w *world) newBackend(name string) *backend {
	b := &backend{world: w, name: name, witness: true, until: colo.Forever, guarded: w.pairs%2 == 0}
	b.staged = map[colo.Epoch][maxDisks]uint64{}
	b.mirror = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 500 * time.Microsecond}
	b.express = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 500 * time.Microsecond}
	b.oob = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 400 * time.Microsecond}
	return b
}

// take gives the machine an event and does what it says.
func (b *backend) take(e colo.Event) {
	if b.dead {
		return
	}
	if b.now < b.paused {
		b.after(b.paused-b.now, func() { b.take(e) })
		return
	}
	b.tracef("%s takes %T%+v", b.name, e, e)
	for _, a := range b.machine.step(e) {
		b.tracef("%s  does %T%+v (%v)", b.name, a, a, b.machine)
		if !b.doRings(a) && !b.doLocal(a) && !b.doPeer(a) {
			b.failf("%s: nobody does %T", b.name, a)
		}
	}
}

func (b *backend) at(r colo.Ring) *backRing { return &b.ring[r.Disk][r.Queue] }

func (b *backend) vring(r colo.Ring) *vring { return &b.qemu.mem.ring[r.Disk][r.Queue] }

// started is a ring start as it comes from the front end.
func (b *backend) started(r colo.Ring) {
	if b.dead {
		return
	}
	*b.at(r) = backRing{started: true}
	v := b.vring(r)
	b.take(colo.RingStart{Ring: r, Digest: v.digest(), Fresh: v.fresh()})
}

func (b *backend) doRings(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Drain:
		b.at(a.Ring).draining, b.at(a.Ring).released = true, false
		b.drained(a.Ring)
	case colo.DrainAll:
		b.draining = true
		b.each(func(r colo.Ring) { b.at(r).released = false })
		b.quiesced()
	case colo.AnswerStop:
		b.at(a.Ring).started, b.at(a.Ring).released = false, false
		q := b.qemu
		b.after(b.between(time.Microsecond, 30*time.Microsecond), func() {
			q.answers[a.Ring] = true
			q.main.wake()
		})
	case colo.Release:
		b.at(a.Ring).released = true
		b.pump(a.Ring)
	case colo.StopServing:
		b.stopped = true
	case colo.ServeUntil:
		b.until = a.Until
	case colo.PassErrors:
		b.fails = false
	default:
		return false
	}
	return true
}

func (b *backend) each(do func(colo.Ring)) {
	for d := range b.disks {
		for i := range b.queues {
			do(colo.Ring{Disk: d, Queue: i})
		}
	}
}

// pump takes what the guest asks for.
func (b *backend) pump(r colo.Ring) {
	ring := b.at(r)
	if b.dead || b.stopped || !b.qemu.alive || !ring.started || !ring.released || b.fails {
		return
	}
	v := b.vring(r)
	for _, w := range v.wants[:v.n] {
		if slices.ContainsFunc(ring.inflight, func(q *request) bool { return q.w == w }) {
			continue
		}
		req := &request{ring: r, w: w}
		ring.inflight = append(ring.inflight, req)
		b.after(b.between(10*time.Microsecond, 500*time.Microsecond), func() { b.execute(req) })
	}
}

// execute brings a request to the disk, if it is the disk that the guest means.
func (b *backend) execute(req *request) {
	if b.dead || !b.qemu.alive || b.stopped {
		return // what may still reach a disk that serves no more does no harm
	}
	d := req.ring.Disk
	want := b.qemu.mem.expect[d]
	for i := range b.queues {
		for _, other := range b.ring[d][i].inflight {
			if other.done {
				want += mix(other.w)
			}
		}
	}
	if b.disk[d] != want {
		b.failf("%s: disk %d is not the one that its guest's memory means (%v)", b.name, d, b.machine)
	}
	if b.machine.poisoned() {
		b.failf("%s serves although it is poisoned", b.name)
	}
	b.disk[d] += mix(req.w)
	req.done = true
	b.after(b.between(time.Microsecond, 30*time.Microsecond), func() { b.publish(req) })
}

// publish tells the guest, if that is allowed at this time.
func (b *backend) publish(req *request) {
	if b.dead || !b.qemu.alive || b.stopped {
		return
	}
	if b.now < b.paused {
		b.after(b.paused-b.now, func() { b.publish(req) })
		return
	}
	if b.now >= b.until {
		b.after(200*time.Microsecond, func() { b.publish(req) })
		return
	}
	b.serve()
	ring := b.at(req.ring)
	ring.inflight = slices.DeleteFunc(ring.inflight, func(r *request) bool { return r == req })
	if b.vring(req.ring).complete(req.w) {
		b.qemu.mem.expect[req.ring.Disk] += mix(req.w)
	}
	b.served++
	b.drained(req.ring)
	b.quiesced()
}

// drained tells the machine when a ring is quiet.
func (b *backend) drained(r colo.Ring) {
	ring := b.at(r)
	if !ring.draining || len(ring.inflight) > 0 {
		return
	}
	ring.draining = false
	e := colo.Drained{Ring: r, Digest: b.vring(r).digest()}
	b.after(0, func() { b.take(e) })
}

func (b *backend) quiesced() {
	if !b.draining {
		return
	}
	digests, busy := colo.Digests{}, false
	b.each(func(r colo.Ring) {
		ring := b.at(r)
		busy = busy || len(ring.inflight) > 0
		if ring.started {
			digests[r] = b.vring(r).digest()
		}
	})
	if busy {
		return
	}
	b.draining = false
	b.after(0, func() { b.take(colo.Quiesced{Digests: digests}) })
}

func (b *backend) die() {
	if b.dead {
		return
	}
	b.tracef("%s dies", b.name)
	b.dead = true
	b.qemu.main.wake()
	if b.guarded && b.machine.Bound() {
		b.after(guardTime, b.qemu.die)
	}
	b.after(b.between(time.Microsecond, time.Millisecond), func() { b.peer.lose("connection reset") })
}

// lose tells that the peer is gone, unless the words cannot get here.
func (b *backend) lose(cause string) {
	if !b.lost {
		b.lost = true
		b.mirror.cut = true
		b.take(colo.PeerLost{Cause: cause})
	}
}

func (b *backend) String() string { return fmt.Sprintf("%s (%v)", b.name, b.machine) }
