package colo

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// anyRing and anyEpoch keep the numbers small, so that events meet.
func anyRing(t *rapid.T) Ring {
	return Ring{rapid.IntRange(0, 1).Draw(t, "disk"), rapid.IntRange(0, 1).Draw(t, "queue")}
}

func anyEpoch(t *rapid.T) Epoch { return Epoch(rapid.IntRange(0, 2).Draw(t, "epoch")) }

func anyDigest(t *rapid.T) Digest { return Digest(rapid.IntRange(1, 2).Draw(t, "digest")) }

func anyDigests(t *rapid.T) Digests {
	d := Digests{}
	for range rapid.IntRange(0, 2).Draw(t, "digests") {
		d[anyRing(t)] = anyDigest(t)
	}
	return d
}

func anyClaim(t *rapid.T) Claim { return Claim(rapid.IntRange(1, 3).Draw(t, "claim")) }

func ringOrClock(t *rapid.T, kind int, seq uint64) Event {
	switch kind {
	case 0:
		return StopRequested{anyRing(t)}
	case 1:
		return RingStart{anyRing(t), anyDigest(t), rapid.Bool().Draw(t, "fresh")}
	case 2:
		return Drained{anyRing(t), anyDigest(t)}
	case 3:
		return Quiesced{anyDigests(t)}
	case 4:
		return Disconnected{rapid.IntRange(0, 1).Draw(t, "disk")}
	case 5:
		return BarrierPassed{rapid.Uint64Range(0, seq).Draw(t, "barrier")}
	default:
		timer := Timer(rapid.IntRange(1, int(Promise)).Draw(t, "timer"))
		return Expired{timer, rapid.Uint64Range(0, seq).Draw(t, "timer seq")}
	}
}

func witnessed(t *rapid.T, kind int) Event {
	switch kind {
	case 0:
		return Won{anyClaim(t)}
	case 1:
		return Lost{anyClaim(t)}
	default:
		return Unreachable{anyClaim(t)}
	}
}

// plain events carry nothing that matters.
var plain = []Event{
	Stop{}, Resume{}, ColoExit{}, Shutdown{}, Reset{}, Reset{Foreign: true}, MonitorLost{}, Yanked{}, QEMUGone{},
	PeerUp{}, Synced{}, PeerLost{}, PeerLeft{}, GaveUp{}, HandedOver{}, Progress{}, RenewalAsked{},
	Renewed{Until: 5}, ShutdownAnnounced{}, ShutdownAcked{}, DeadlinePassed{}, Failover{}, Quit{},
	WriteFailed{}, Promoted{}, Meddled{}, MigrationFailed{},
}

// common ones come more often; most of the others end the story.
var common = []Event{
	Stop{}, Resume{}, PeerUp{}, Synced{}, Yanked{}, RenewalAsked{}, Promoted{}, ColoExit{}, PeerLost{},
}

func numbered(t *rapid.T, kind int) Event {
	e := anyEpoch(t)
	return []Event{Sealed{e, anyDigests(t)}, Complete{e}, Acked{e}, RingsStarting{e}, StartAcked{e}, Reported{e},
		Loaded{e}}[kind]
}

func anyEvent(t *rapid.T, seq uint64) Event {
	switch k := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case k < 4:
		return ringOrClock(t, rapid.IntRange(0, 6).Draw(t, "ring event"), seq)
	case k < 7:
		return numbered(t, rapid.IntRange(0, 6).Draw(t, "numbered event"))
	case k == 7:
		return witnessed(t, rapid.IntRange(0, 2).Draw(t, "witness"))
	case k == 8:
		return rapid.SampledFrom(common).Draw(t, "common")
	default:
		return rapid.SampledFrom(plain).Draw(t, "plain")
	}
}

// watch holds a machine to what it may never do, knowing only what went in and came out.
type watch struct {
	*rapid.T
	seq     uint64
	running map[Ring]bool // released, and not drained since
	given   map[string]bool
	loads   int
	sealed  map[Epoch]bool
	full    map[Epoch]bool
	put     map[Epoch]bool // AckStart was sent
	halted  bool
	promise uint64
	seal    Epoch
	acked   bool // the newest seal
	unheard bool // an announcement
}

func newWatch(t *rapid.T) *watch {
	return &watch{T: t, running: map[Ring]bool{}, given: map[string]bool{}, sealed: map[Epoch]bool{},
		full: map[Epoch]bool{}, put: map[Epoch]bool{}}
}

// in notes an event.
func (w *watch) in(e Event) {
	w.given[reflect.TypeOf(e).Name()] = true
	switch e := e.(type) {
	case Sealed:
		w.sealed[e.Epoch] = true
	case Complete:
		w.full[e.Epoch] = w.full[e.Epoch] || w.sealed[e.Epoch]
	case RingStart:
		delete(w.running, e.Ring)
	case Drained:
		delete(w.running, e.Ring)
	case Quiesced:
		clear(w.running)
	case Disconnected:
		for r := range w.running {
			if r.Disk == e.Disk {
				delete(w.running, r)
			}
		}
	case QEMUGone:
		clear(w.running)
	case Won:
		w.given["Won"] = w.given["Won"] && e.Claim != 0
		w.given[[]string{"", "pair", "alone", "takeover"}[e.Claim]] = true
	case Acked:
		w.acked = w.acked || e.Epoch == w.seal
	case StartAcked:
		w.unheard = w.unheard && e.Epoch != w.seal
	case Expired:
		if e.Timer == Promise && e.Seq == w.promise {
			w.promise = 0
		}
	case HandedOver:
		w.promise = 0
	case Loaded:
		w.loads = max(0, w.loads-1)
	}
}

func (w *watch) must(ok bool, what string, a Action) {
	if !ok {
		w.Fatalf("%T%+v: %s", a, a, what)
	}
}

func TestSecondaryRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWatch(t)
		var s Secondary
		if rapid.Bool().Draw(t, "warm") {
			s = w.warm(s)
		}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			e := anyEvent(t, w.seq)
			before := s
			next, out := s.Step(e)
			again, same := before.Step(e)
			if !reflect.DeepEqual(next, again) || !reflect.DeepEqual(out, same) {
				t.Fatalf("%T%+v: not the same twice", e, e)
			}
			w.in(e)
			w.secondary(e, before, out)
			s = next
		}
	})
}

// warm brings a secondary to where it follows.
func (w *watch) warm(s Secondary) Secondary {
	for _, e := range []Event{PeerUp{}, Sealed{}, Complete{}, Resume{}, Loaded{}, RingStart{Digest: 1}} {
		w.in(e)
		before := s
		var out []Action
		s, out = s.Step(e)
		w.secondary(e, before, out)
	}
	return s
}

func (w *watch) secondary(e Event, before Secondary, out []Action) {
	answered := false
	for _, a := range out {
		switch a := a.(type) {
		case Barrier:
			w.seq = max(w.seq, a.Seq)
		case StartTimer:
			w.seq, w.promise = max(w.seq, a.Seq), a.Seq
		case Load:
			w.loads++
			w.must(w.sealed[a.Epoch] && w.full[a.Epoch] && !w.put[a.Epoch], "no standing complete seal", a)
			w.must(!w.given["ColoExit"] && !w.halted, "COLO has ended", a)
			w.must(len(w.running) == 0, "rings run", a)
		case AckStart:
			w.put[a.Epoch] = true
		case Release:
			w.must(!w.halted && w.loads == 0, "poisoned, or its disk is not there", a)
			w.running[a.Ring] = true
		case AnswerStop:
			w.must(!w.running[a.Ring] || w.halted, "not drained", a)
			answered = true
		case AskWitness:
			w.must(w.promise == 0 && !w.halted && a.Claim == ClaimTakeOver, "it promised not to", a)
		case Promote:
			w.must(w.given["takeover"] && w.given["ColoExit"] && !w.halted && w.loads == 0, "not won, or not over", a)
		case LostHeartbeat:
			w.must(w.given["Promoted"] && !w.halted, "not durable", a)
		case StopServing:
			w.halted = true
		}
	}
	if d, ok := e.(Drained); ok && before.rings[d.Ring].stage == ringDraining {
		w.must(answered, "a stop waits for something else", AnswerStop{d.Ring})
	}
}

func TestPrimaryRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWatch(t)
		var p Primary
		if rapid.Bool().Draw(t, "warm") {
			for _, e := range []Event{RingStart{Digest: 1}, PeerUp{}, Renewed{5}, Synced{}, Won{ClaimPair}} {
				p = w.step(p, e)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			e := anyEvent(t, w.seq)
			again, _ := p.Step(e)
			p = w.step(p, e)
			if !reflect.DeepEqual(p, again) {
				t.Fatalf("%T%+v: not the same twice", e, e)
			}
		}
	})
}

func (w *watch) step(p Primary, e Event) Primary {
	next, out := p.Step(e)
	w.in(e)
	for _, a := range out {
		w.primary(a, p, next)
	}
	return next
}

func (w *watch) primary(a Action, before, after Primary) {
	sealing := after.phase == PrimaryPaired
	switch a := a.(type) {
	case StartTimer:
		w.seq = max(w.seq, a.Seq)
	case Seal:
		w.must(len(w.running) == 0, "rings run", a)
		w.seal, w.acked = a.Epoch, false
	case AnnounceStart:
		w.must(w.acked, "s has not got it", a)
		w.unheard = true
	case AnswerStop:
		w.must(!w.running[a.Ring] && !w.halted, "not drained, or over", a)
		w.must(!sealing || w.acked && !w.unheard, "s has not got the epoch", a)
		w.must(after.phase != PrimaryGivingUp || !before.colo || after.yanked, "QEMU may still load", a)
	case Release:
		w.must(!w.halted, "it serves no more", a)
		w.must(!sealing || !w.unheard, "s still counts on the seal", a)
		w.must(after.phase != PrimaryGivingUp, "somebody else may serve", a)
		w.running[a.Ring] = true
	case ServeUntil:
		w.must(a.Until != Forever || w.given["alone"] || w.given["PeerLeft"] || w.given["ShutdownAcked"],
			"nobody said so", a)
	case LostHeartbeat:
		w.must(after.phase < PrimaryPaired && len(after.waiting) == 0, "the mirror is not given up", a)
	case HandOver:
		w.must(w.halted && w.given["QEMUGone"], "it serves", a)
	case StopServing:
		w.halted = true
	}
}
