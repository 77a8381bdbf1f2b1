package sim

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-vm/belay/colo"
)

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

// backend is p or s as QEMU and the other host see it: rings, a place in the network, a life. What it
// decides is its side's.
type backend struct {
	*world
	name    string
	side    Side
	qemu    *qemu
	peer    *backend
	dead    bool
	power   bool // with its host
	guarded bool // QEMU's guard outlives this process
	inbox   inbox

	mirror  pipe // to the peer
	witness bool // the witness can be reached
	oob     pipe // to QEMU's monitor

	ring     [maxDisks][maxQueues]backRing
	taken    map[uint64]bool // requests that the process before this one had taken
	draining bool            // all of them; a Quiesced is due

	boot    *hostClock
	paused  time.Duration // not scheduled until then
	fails   bool          // its disk
	broken  bool          // for good: it may hold anything
	died    time.Duration // when its process did
	serving bool          // s was promoted
	served  uint64        // requests published lately
}

func (w *world) newBackend(name string) *backend {
	b := &backend{world: w, name: name, witness: true, guarded: w.pairs%2 == 0, inbox: inbox{poke: w.poke}}
	b.boot = &hostClock{rate: 1 + w.drift*(2*w.rng.Float64()-1)}
	b.mirror = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 500 * time.Microsecond}
	b.oob = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 400 * time.Microsecond}
	w.backends = append(w.backends, b)
	return b
}

// take gives the side an event.
func (b *backend) take(e colo.Event) {
	if b.dead {
		return
	}
	if b.now < b.paused {
		b.after(b.paused-b.now, func() { b.take(e) })
		return
	}
	b.tracef("%s takes %T%+v", b.name, e, e)
	b.side.Take(e)
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
	case colo.PassErrors:
		b.fails = b.broken // then the guest is refused whatever it asks for
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
	if b.dead || !b.qemu.alive || b.side.State().Stopped || !ring.started || !ring.released || b.fails {
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
	if b.dead || !b.qemu.alive || b.broken {
		return // what may still reach a disk that serves no more does no harm
	}
	d := req.ring.Disk
	switch s := b.side.State(); {
	case s.Stopped:
		return
	case s.Poisoned:
		b.failf("%s serves although it is poisoned", b.name)
		return
	}
	err := b.side.Execute(b.request(req), b.expected(d))
	if errors.Is(err, ErrDisk) {
		b.fails, b.broken = true, true
		return
	}
	if err != nil {
		b.failf("%s: disk %d is not the one that its guest's memory means: %v (%v)", b.name, d, err, b)
		return
	}
	if b.dead {
		return // in the middle of it
	}
	req.done = true
	b.after(b.between(time.Microsecond, 30*time.Microsecond), func() { b.publish(req) })
}

func (b *backend) request(req *request) Request {
	flush, block := b.meaning(req.w)
	return Request{Disk: req.ring.Disk, Block: block, Tag: req.w, Flush: flush}
}

// expected is what the guest's memory says of a disk.
func (b *backend) expected(d int) Expected {
	m := Expected{Sum: b.qemu.mem.expect[d], Blocks: b.qemu.mem.blocks[d]}
	if b.sides != nil {
		m.Doing, m.Either = map[int]map[uint64]bool{}, b.either(d)
	}
	for i := range b.queues {
		for _, q := range b.ring[d][i].inflight {
			if q.done {
				m.Sum += mix(q.w)
			}
			if flush, block := b.meaning(q.w); b.sides != nil && !flush {
				if m.Doing[block] == nil {
					m.Doing[block] = map[uint64]bool{}
				}
				m.Doing[block][q.w] = q.done
			}
		}
	}
	return m
}

// either is what nobody knows the end of: the guest waits for it, and who took it is no more.
func (b *backend) either(d int) map[int]uint64 {
	blocks := map[int]uint64{}
	for i := range b.queues {
		r := &b.qemu.mem.ring[d][i]
		for _, tag := range r.wants[:r.n] {
			if _, block := b.meaning(tag); b.taken[tag] {
				blocks[block] = tag
			}
		}
	}
	return blocks
}

// publish tells the guest, when that is allowed.
func (b *backend) publish(req *request) {
	if b.dead || !b.qemu.alive {
		return
	}
	if b.now < b.paused {
		b.after(b.paused-b.now, func() { b.publish(req) })
		return
	}
	b.side.Show(func() { b.show(req) })
}

func (b *backend) show(req *request) {
	if b.dead || !b.qemu.alive || b.side.State().Stopped {
		return
	}
	b.serve()
	ring := b.at(req.ring)
	ring.inflight = slices.DeleteFunc(ring.inflight, func(r *request) bool { return r == req })
	if b.vring(req.ring).complete(req.w) {
		b.completed(req)
	}
	b.served++
	b.drained(req.ring)
	b.quiesced()
}

// completed is what the guest's memory knows of its disks then.
func (b *backend) completed(req *request) {
	d, mem := req.ring.Disk, &b.qemu.mem
	if flush, block := b.meaning(req.w); flush {
		mem.safe[d], mem.flushing[d] = mem.asked[d], false
	} else {
		mem.expect[d] += mix(req.w)
		mem.blocks[d][block] = req.w
	}
}

// serve is called for everything that a guest is told: never may two do that.
func (b *backend) serve() {
	p, s := b.p, b.s
	switch {
	case b == p && s != nil && s.serving && !s.dead:
		b.failf("p publishes while s serves (%v, %v)", p, s)
	case b == s && s.serving && !p.dead && p.side.State().Shows && p.qemu.alive:
		b.failf("s publishes while p still may (%v, %v)", p, s)
	}
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

// doQEMU carries out what concerns QEMU.
func (b *backend) doQEMU(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Barrier:
		b.command(func(q *qemu) { q.emit(colo.BarrierPassed(a)) })
	case colo.Yank:
		b.command(func(q *qemu) {
			q.unplug()
			q.emit(colo.Yanked{})
		})
	case colo.LostHeartbeat:
		b.promoted()
		b.command(func(q *qemu) {
			q.heartbeat = true
			q.main.wake()
		})
	case colo.StartColo:
		b.command(func(q *qemu) {
			q.ordered = true
			q.main.wake()
		})
	case colo.EndQEMU:
		b.after(b.between(10*time.Microsecond, time.Millisecond), b.qemu.die)
	default:
		return false
	}
	return true
}

// command runs out of band: whoever holds the big lock.
func (b *backend) command(do func(*qemu)) {
	q := b.qemu
	b.oob.send(func() {
		if q.alive {
			do(q)
		}
	})
}

// promoted is the moment at which s serves: its disks are what they are for good.
func (b *backend) promoted() {
	if b != b.s || b.serving {
		return
	}
	b.serving = true
	b.qemu.mem.safe = b.qemu.mem.blocks
	if p := b.peer; p.dead && p.guarded && p.qemu.alive && b.now > p.died+guardTime {
		b.failf("%s takes over from a guest that nobody ends", b.name)
	}
	if b.ended {
		b.failf("%s revives a guest that was shut down", b.name)
	}
	if b.qemu.mem.line < b.told {
		b.failf("%s takes over with checkpoint %d, but %d was told", b.name, b.qemu.mem.line, b.told)
	}
}

// die is the end of the process; its host tells the peer.
func (b *backend) die() {
	if b.dead {
		return
	}
	b.tracef("%s dies", b.name)
	b.side.Die(false)
	b.gone()
}

// gone is what others see of it.
func (b *backend) gone() {
	b.dead, b.died = true, b.now
	b.qemu.main.wake()
	if b.guarded && b.side.State().Bound {
		b.after(guardTime, b.qemu.die)
	}
	b.after(b.between(time.Microsecond, time.Millisecond), func() { b.peer.lose("connection reset") })
}

func (b *backend) lose(cause string) {
	if !b.dead {
		b.side.Lose(cause)
	}
}

// hostClock is the boot clock of a host, which is a little fast or slow, and jumps when the host was
// suspended. Any goroutine may ask.
type hostClock struct {
	rate float64
	jump atomic.Int64 // ns
}

func (c *hostClock) at(now time.Duration) time.Duration {
	return time.Duration(float64(now)*c.rate) + time.Duration(c.jump.Load())
}

// time is the host's boot clock.
func (b *backend) time() time.Duration { return b.boot.at(b.now) }

// span is how long a timer of the host takes.
func (b *backend) span(d time.Duration) time.Duration {
	return time.Duration(float64(d) / b.boot.rate)
}

func (b *backend) String() string { return fmt.Sprintf("%s (%s)", b.name, b.side.State().Text) }
