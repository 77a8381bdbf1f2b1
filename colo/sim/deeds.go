package sim

import (
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

// doLocal carries out what concerns QEMU, the clock, the witness and this side's disk.
func (b *backend) doLocal(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Load:
		b.after(b.between(5*time.Microsecond, 3*time.Millisecond), func() { b.load(a.Epoch) })
	case colo.Promote:
		b.after(b.between(100*time.Microsecond, 3*time.Millisecond), b.promote)
	case colo.Barrier:
		b.command(func(q *qemu) { q.emit(colo.BarrierPassed(a)) })
	case colo.Yank:
		b.command(func(q *qemu) {
			q.unplug()
			q.emit(colo.Yanked{})
		})
	case colo.LostHeartbeat:
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
	case colo.StartTimer:
		b.timers[a.Timer] = a.Seq
		b.after(timerTimes[a.Timer], func() { b.expire(a.Timer, a.Seq) })
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

// command runs out of band: whoever holds the big lock.
func (b *backend) command(do func(*qemu)) {
	q := b.qemu
	b.oob.send(func() {
		if q.alive {
			do(q)
		}
	})
}

// expire gives stale ones too, now and then, as a real clock may.
func (b *backend) expire(t colo.Timer, seq uint64) {
	if b.timers[t] == seq || b.chance(0.1) {
		b.take(colo.Expired{Timer: t, Seq: seq})
	}
}

func (b *backend) load(e colo.Epoch) {
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

func (b *backend) promote() {
	if b.dead {
		return
	}
	b.serving = true
	clear(b.staged)
	b.take(colo.Promoted{})
	if b.peer.dead && b.peer.guarded && b.peer.qemu.alive {
		b.failf("%s takes over from a guest that nobody ends", b.name)
	}
	if b.ended {
		b.failf("%s revives a guest that was shut down", b.name)
	}
	if b.qemu.mem.line < b.told {
		b.failf("%s takes over with checkpoint %d, but %d was told", b.name, b.qemu.mem.line, b.told)
	}
}

// doPeer sends what concerns the peer.
func (b *backend) doPeer(a colo.Action) bool {
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
		b.promise(b.renewing + promiseTime)
	case colo.Leave:
		b.send(colo.PeerLeft(a))
	default:
		return false
	}
	return true
}

func (b *backend) send(e colo.Event) {
	p := b.peer
	b.mirror.send(func() {
		_, end := e.(colo.ShutdownAnnounced)
		b.ended = b.ended || end && !p.dead && !p.serving
		p.take(e)
	})
}

// complete sends the tail of an epoch: the disks as they are now.
func (b *backend) complete(e colo.Epoch) {
	disk, p := b.disk, b.peer
	b.mirror.slow += b.between(0, 4*time.Millisecond)
	b.mirror.send(func() {
		delete(p.staged, e-2) // e-1 may be in the middle of its load
		p.staged[e] = disk
		p.take(colo.Complete{Epoch: e})
	})
	b.mirror.slow = b.slowness
}

// renew asks for a promise every now and then.
func (b *backend) renew(pair int) {
	if b.dead || b.lost || b.pairs != pair {
		return
	}
	m, ok := b.machine.(*primary)
	if !ok || !m.Renews() {
		return
	}
	sent, p := b.now, b.peer
	b.express.slow = b.mirror.slow
	b.express.send(func() {
		if b.mirror.cut {
			return
		}
		p.renewing = sent
		p.take(colo.RenewalAsked{})
	})
	b.after(renewEvery, func() { b.renew(pair) })
}

// promise answers.
func (b *backend) promise(until time.Duration) {
	p, pair := b.peer, b.pairs
	b.express.slow = b.mirror.slow
	b.express.send(func() {
		if !b.mirror.cut && b.pairs == pair {
			p.take(colo.Renewed{Until: until})
		}
	})
}

// ask repeats a question to the witness until it is answered.
func (b *backend) ask(c colo.Claim, question uint64, pair int) {
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

// serve is called for everything that a guest is told: never may two do that.
func (b *backend) serve() {
	p, s := b.p, b.s
	switch {
	case b == p && s.serving && !s.dead:
		b.failf("p publishes while s serves (%v, %v)", p.machine, s.machine)
	case b == s && s.serving && !p.dead && !p.stopped && p.qemu.alive && p.until > b.now:
		b.failf("s publishes while p still may (%v, %v)", p.machine, s.machine)
	}
}
