package colo

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// A script is a line of words, one event each: a name, what it is about behind a colon (an epoch, or
// disk.queue of a ring; 0.0 if it is not said), and a digest behind an equals sign. What a machine
// does is written in the same way, without what always goes together.
//
//	stop:1.0   StopRequested of disk 1, queue 0         answer:1.0   AnswerStop
//	seal:3=7   Sealed, epoch 3, ring 0.0 has digest 7   load:3       Load of epoch 3

type word struct {
	name, of string
	digest   Digest
	summed   bool
}

func parse(t *testing.T, s string) word {
	t.Helper()
	rest, digest, summed := strings.Cut(s, "=")
	name, of, _ := strings.Cut(rest, ":")
	w := word{name: name, of: of, summed: summed}
	if summed {
		n, err := strconv.Atoi(digest)
		if err != nil {
			t.Fatal(err)
		}
		w.digest = Digest(n)
	}
	return w
}

func (w word) epoch() Epoch {
	n, _ := strconv.Atoi(w.of)
	return Epoch(n)
}

func (w word) ring() (r Ring) {
	if w.of != "" {
		_, _ = fmt.Sscanf(w.of, "%d.%d", &r.Disk, &r.Queue)
	}
	return r
}

func (w word) digests() Digests {
	if !w.summed {
		return nil
	}
	return Digests{{}: w.digest}
}

// player gives a script's words to a machine.
type player struct {
	step    func(Event) []Action
	barrier uint64
	timer   [Promise + 1]uint64
	did     []string
}

func (p *player) play(t *testing.T, script string) string {
	t.Helper()
	for _, s := range strings.Fields(script) {
		for _, a := range p.step(p.event(t, parse(t, s))) {
			p.note(a)
		}
	}
	return strings.Join(p.did, " ")
}

func (p *player) event(t *testing.T, w word) Event {
	t.Helper()
	for _, kind := range []func(word) Event{p.monitorEvent, ringEvent, mirrorEvent, p.otherEvent} {
		if e := kind(w); e != nil {
			return e
		}
	}
	t.Fatalf("no event is called %q", w.name)
	return nil
}

func (p *player) monitorEvent(w word) Event {
	switch w.name {
	case "STOP":
		return Stop{}
	case "RESUME":
		return Resume{}
	case "EXIT":
		return ColoExit{"error"}
	case "SHUTDOWN":
		return Shutdown{}
	case "RESET":
		return Reset{Foreign: w.of == "foreign"}
	case "meddled":
		return Meddled{"DEVICE_DELETED"}
	case "gap":
		return MonitorLost{}
	case "yanked":
		return Yanked{}
	case "gone":
		return QEMUGone{}
	case "passed":
		return BarrierPassed{p.barrier}
	}
	return nil
}

func ringEvent(w word) Event {
	switch w.name {
	case "stop":
		return StopRequested{w.ring()}
	case "start":
		return RingStart{Ring: w.ring(), Digest: w.digest}
	case "fresh":
		return RingStart{Ring: w.ring(), Digest: w.digest, Fresh: true}
	case "cut":
		return Disconnected{w.ring().Disk}
	case "drained":
		return Drained{w.ring(), w.digest}
	case "quiet":
		return Quiesced{w.digests()}
	case "loaded":
		return Loaded{w.epoch()}
	case "promoted":
		return Promoted{}
	case "broken-disk":
		return WriteFailed{}
	}
	return nil
}

func mirrorEvent(w word) Event {
	switch w.name {
	case "up":
		return PeerUp{}
	case "synced":
		return Synced{}
	case "lost":
		return PeerLost{"cut"}
	case "left":
		return PeerLeft{"it"}
	case "gave-up":
		return GaveUp{"it"}
	case "handed":
		return HandedOver{"it"}
	case "seal":
		return Sealed{w.epoch(), w.digests()}
	case "complete":
		return Complete{w.epoch()}
	case "acked":
		return Acked{w.epoch()}
	case "starting":
		return RingsStarting{w.epoch()}
	case "start-acked":
		return StartAcked{w.epoch()}
	case "reported":
		return Reported{w.epoch()}
	case "ask-promise":
		return RenewalAsked{}
	case "promised":
		return Renewed{5}
	case "ended":
		return ShutdownAnnounced{}
	case "end-acked":
		return ShutdownAcked{}
	}
	return nil
}

func (p *player) otherEvent(w word) Event {
	claims := map[string]Claim{"pair": ClaimPair, "alone": ClaimAlone, "": ClaimTakeOver}
	switch w.name {
	case "won":
		return Won{claims[w.of]}
	case "beaten":
		return Lost{claims[w.of]}
	case "unreachable":
		return Unreachable{claims[w.of]}
	case "idle":
		return Expired{HoldIdle, p.timer[HoldIdle]}
	case "linger":
		return Expired{Linger, p.timer[Linger]}
	case "free":
		return Expired{Promise, p.timer[Promise]}
	case "deadline":
		return DeadlinePassed{}
	case "failover":
		return Failover{}
	case "quit":
		return Quit{}
	}
	return nil
}

// note writes an action down, if it is one that tables look at.
func (p *player) note(a Action) {
	name := ""
	switch a := a.(type) {
	case Barrier:
		p.barrier = a.Seq
	case StartTimer:
		p.timer[a.Timer] = a.Seq
	case Drain:
		name = "drain" + a.Ring.suffix()
	case AnswerStop:
		name = "answer" + a.Ring.suffix()
	case Release:
		name = "release" + a.Ring.suffix()
	case Seal:
		name = fmt.Sprintf("seal:%d", a.Epoch)
	case AnnounceStart:
		name = fmt.Sprintf("announce:%d", a.Epoch)
	case Commit:
		name = fmt.Sprintf("commit:%d", a.Epoch)
	case AckSeal:
		name = fmt.Sprintf("ack:%d", a.Epoch)
	case AckStart:
		name = fmt.Sprintf("ack-start:%d", a.Epoch)
	case Report:
		name = fmt.Sprintf("report:%d", a.Epoch)
	case Load:
		name = fmt.Sprintf("load:%d", a.Epoch)
	case ServeUntil:
		if a.Until == Forever {
			name = "free"
		}
	case StopTimer, Forgo:
	default:
		name = actionNames[fmt.Sprintf("%T", a)]
	}
	if name != "" {
		p.did = append(p.did, name)
	}
}

var actionNames = map[string]string{
	"colo.DrainAll": "drain-all", "colo.StopServing": "halt", "colo.PassErrors": "pass-errors",
	"colo.GiveUpPeer": "give-up", "colo.HandOver": "hand-over", "colo.AnnounceShutdown": "tell-end",
	"colo.AckShutdown": "ack-end", "colo.Renew": "promise", "colo.Leave": "leave", "colo.KeepOwn": "keep",
	"colo.Promote": "promote", "colo.Poison": "poison", "colo.AskWitness": "ask", "colo.StartColo": "colo",
	"colo.Yank": "yank", "colo.LostHeartbeat": "beat", "colo.EndQEMU": "end-qemu", "colo.Refuse": "refuse",
}

func (r Ring) suffix() string {
	if r == (Ring{}) {
		return ""
	}
	return fmt.Sprintf(":%d.%d", r.Disk, r.Queue)
}

// scene is a row of a table: what is said before, what happens, what is done about the latter.
type scene struct {
	name   string
	before string
	events string
	want   string
}

func (s scene) run(t *testing.T, step func(Event) []Action) {
	t.Helper()
	p := &player{step: step}
	p.play(t, s.before)
	p.did = nil
	if got := p.play(t, s.events); got != s.want {
		t.Errorf("%s\n did %s\nwant %s", s.events, got, s.want)
	}
}
