package sim

import (
	"errors"
	"time"

	"github.com/belay-vm/belay/colo"
)

// The world's durations. What counts is their order: hold < promise / 3.
const (
	promiseTime = 60 * time.Millisecond // what p counts
	promiseKept = 63 * time.Millisecond // what binds s
	renewEvery  = 10 * time.Millisecond
	askAgain    = 5 * time.Millisecond
	startTime   = 300 * time.Millisecond // by then a pair is protected
	guardTime   = time.Millisecond       // from a backend's death to its QEMU's
)

var timerTimes = [...]time.Duration{
	colo.HoldIdle:  6 * time.Millisecond,
	colo.HoldTotal: 18 * time.Millisecond,
	colo.Linger:    300 * time.Microsecond,
	colo.Promise:   promiseKept,
}

// machine is what both roles have in common.
type machine interface {
	step(colo.Event) []colo.Action
	poisoned() bool
	Bound() bool
	String() string
}

// model is a side whose disks are sums, and whose messages are events.
type model struct {
	*backend
	machine machine

	express pipe // to the peer, for promises: they overtake
	lost    bool // the peer was told to be lost

	disk    [maxDisks]uint64
	staged  map[colo.Epoch][maxDisks]uint64
	until   time.Duration // of publishing, by the own clock
	stopped bool
	timers  [colo.Promise + 1]uint64
	asking  uint64        // counts questions to the witness
	renewed time.Duration // when p sent the question that is being answered, by p's clock
}

func (b *backend) newModel(m machine) *model {
	s := &model{backend: b, machine: m, until: colo.Forever}
	s.staged = map[colo.Epoch][maxDisks]uint64{}
	s.express = pipe{clock: &b.clock, least: 20 * time.Microsecond, most: 500 * time.Microsecond}
	b.after(time.Millisecond, s.look)
	return s
}

// other is the model of the other side.
func (m *model) other() *model { return m.peer.side.(*model) }

// Take gives the machine an event and does what it says.
func (m *model) Take(e colo.Event) {
	for _, a := range m.machine.step(e) {
		m.tracef("%s  does %T%+v (%v)", m.name, a, a, m.machine)
		if !m.doRings(a) && !m.doQEMU(a) && !m.doLocal(a) && !m.doPeer(a) {
			m.failf("%s: nobody does %T", m.name, a)
		}
	}
}

var errSum = errors.New("not the same sum")

// Execute adds a write to the disk.
func (m *model) Execute(r Request, x Expected) error {
	if m.disk[r.Disk] != x.Sum {
		return errSum
	}
	m.disk[r.Disk] += mix(r.Tag)
	return nil
}

// Show waits for the promise.
func (m *model) Show(tell func()) {
	switch {
	case m.dead || m.stopped:
	case m.time() >= m.until:
		m.after(200*time.Microsecond, func() { m.Show(tell) })
	default:
		tell()
	}
}

// Meet tells both machines of each other.
func (m *model) Meet() bool {
	m.lost = false
	number, p, s := m.pairs, m.backend, m.peer
	m.after(time.Millisecond, func() {
		p.take(colo.PeerUp{})
		s.take(colo.PeerUp{})
		m.renew(number)
	})
	m.after(m.between(2*time.Millisecond, 6*time.Millisecond), func() { p.take(colo.Synced{}) })
	return true
}

// Lose tells the machine that the peer is gone, once.
func (m *model) Lose(cause string) {
	if !m.lost {
		m.lost = true
		m.mirror.cut = true
		m.take(colo.PeerLost{Cause: cause})
	}
}

// Die leaves nothing behind.
func (m *model) Die(bool) {}

// State is the machine's. One that has taken over becomes a primary when it is settled.
func (m *model) State() State {
	s := State{Stopped: m.stopped, Poisoned: m.machine.poisoned(), Bound: m.machine.Bound()}
	s.Text = m.machine.String()
	s.Shows = !m.stopped && m.until > m.time()
	if p, ok := m.machine.(*primary); ok {
		s.Protected, s.Alone = p.Protected(), p.Phase() == colo.PrimaryAlone && !m.fails
	}
	return s
}

// inherit makes a secondary that has taken over a primary, if it is settled.
func (m *model) inherit() {
	if s, ok := m.machine.(*secondary); ok {
		if p, ok := s.AsPrimary(); ok {
			m.machine = &primary{p}
		}
	}
}

// look tells the machine when its time to publish is over.
func (m *model) look() {
	if m.time() >= m.until {
		m.take(colo.DeadlinePassed{})
	}
	if !m.dead {
		m.after(time.Millisecond, m.look)
	}
}

// doLocal carries out what concerns QEMU, the clock, the witness and this side's disk.
func (b *model) doLocal(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Load:
		b.after(b.between(5*time.Microsecond, 3*time.Millisecond), func() { b.load(a.Epoch) })
	case colo.Promote:
		b.after(b.between(100*time.Microsecond, 3*time.Millisecond), b.promote)
	case colo.StopServing:
		b.stopped = true
	case colo.ServeUntil:
		b.until = a.Until
	case colo.StartTimer:
		b.timers[a.Timer] = a.Seq
		b.after(b.span(timerTimes[a.Timer]), func() { b.expire(a.Timer, a.Seq) })
	case colo.StopTimer:
		b.timers[a.Timer] = 0
	case colo.AskWitness:
		b.asking++
		b.ask(a.Claim, b.asking, b.pairs)
	case colo.Forgo:
		b.asking++
	case colo.KeepOwn, colo.Poison, colo.Commit, colo.Refuse:
	default:
		return false
	}
	return true
}

// expire gives stale ones too, now and then, as a real clock may.
func (b *model) expire(t colo.Timer, seq uint64) {
	if b.timers[t] == seq || b.chance(0.1) {
		b.take(colo.Expired{Timer: t, Seq: seq})
	}
}

func (b *model) load(e colo.Epoch) {
	if b.dead {
		return
	}
	disk, ok := b.staged[e]
	if !ok {
		b.failf("%s loads epoch %d, which is not there", b.name, e)
		return
	}
	b.disk = disk
	b.take(colo.Loaded{Epoch: e})
}

func (b *model) promote() {
	if b.dead {
		return
	}
	clear(b.staged)
	b.take(colo.Promoted{})
}

// doPeer sends what concerns the peer.
func (b *model) doPeer(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Seal:
		b.send(colo.Sealed(a))
		b.complete(a.Epoch)
	case colo.AnnounceStart:
		b.send(colo.RingsStarting(a))
	case colo.GiveUpPeer:
		b.send(colo.GaveUp(a))
	case colo.HandOver:
		b.send(colo.HandedOver(a))
	case colo.AnnounceShutdown:
		b.send(colo.ShutdownAnnounced{})
	case colo.AckSeal:
		b.send(colo.Acked(a))
	case colo.AckStart:
		b.send(colo.StartAcked(a))
	case colo.AckShutdown:
		b.send(colo.ShutdownAcked{})
	case colo.Report:
		b.send(colo.Reported(a))
	case colo.Renew:
		b.promise(b.renewed + promiseTime)
	case colo.Leave:
		b.send(colo.PeerLeft(a))
	default:
		return false
	}
	return true
}

func (b *model) send(e colo.Event) {
	p := b.peer
	b.mirror.send(func() {
		_, end := e.(colo.ShutdownAnnounced)
		b.ended = b.ended || end && !p.dead && !p.serving
		p.take(e)
	})
}

// complete sends the tail of an epoch: the disks as they are now.
func (b *model) complete(e colo.Epoch) {
	disk, p := b.disk, b.other()
	b.mirror.slow += b.between(0, 4*time.Millisecond)
	b.mirror.send(func() {
		delete(p.staged, e-2) // e-1 may be in the middle of its load
		p.staged[e] = disk
		p.take(colo.Complete{Epoch: e})
	})
	b.mirror.slow = b.slowness
}

// renew asks for a promise every now and then.
func (b *model) renew(pair int) {
	if b.dead || b.lost || b.pairs != pair {
		return
	}
	m, ok := b.machine.(*primary)
	if !ok || !m.Renews() {
		return
	}
	sent, p := b.time(), b.other()
	b.express.slow = b.mirror.slow
	b.express.send(func() {
		if b.mirror.cut {
			return
		}
		p.renewed = sent
		p.take(colo.RenewalAsked{})
	})
	b.after(renewEvery, func() { b.renew(pair) })
}

// promise answers.
func (b *model) promise(until time.Duration) {
	p, pair := b.peer, b.pairs
	b.express.slow = b.mirror.slow
	b.express.send(func() {
		if !b.mirror.cut && b.pairs == pair {
			p.take(colo.Renewed{Until: until})
		}
	})
}

// ask repeats a question to the witness until it is answered.
func (b *model) ask(c colo.Claim, question uint64, pair int) {
	if b.dead || b.asking != question || b.pairs != pair {
		return
	}
	b.after(b.between(200*time.Microsecond, 3*time.Millisecond), func() {
		if b.dead || b.asking != question || b.pairs != pair {
			return
		}
		if !b.witness {
			b.take(colo.Unreachable{Claim: c})
			b.after(askAgain, func() { b.ask(c, question, pair) })
			return
		}
		won := b.grant(c)
		b.after(b.between(200*time.Microsecond, 3*time.Millisecond), func() {
			switch {
			case b.asking != question:
			case won:
				b.take(colo.Won{Claim: c})
			default:
				b.take(colo.Lost{Claim: c})
			}
		})
	})
}

// grant is the witness: of alone and taking over, only one is granted.
func (w *world) grant(c colo.Claim) bool {
	if w.granted == colo.ClaimPair || w.granted == 0 {
		w.granted = c
	}
	w.tracef("witness: asked for %v, granted %v", c, w.granted)
	return w.granted == c
}
