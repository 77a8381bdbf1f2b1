package colo

import (
	"maps"
	"slices"
)

// SecondaryPhase is what s is about.
type SecondaryPhase int

// The phases of the secondary.
const (
	SecondaryWaiting   SecondaryPhase = iota // has not loaded epoch 0: may not take over
	SecondaryFollowing                       // S runs ahead of its next load
	SecondaryOrphan                          // p is lost or has stopped: asks to take over
	SecondaryPromoting                       // has won; what is there becomes durable
	SecondaryAlone                           // serves
	SecondaryPoisoned                        // never serves
)

var secondaryPhases = [...]string{"waiting", "following", "orphaned", "promoting", "alone", "poisoned"}

func (p SecondaryPhase) String() string { return secondaryPhases[p] }

// run is what the events say of S's VM.
type run int

const (
	runNever run = iota // waits for the migration
	runStopped
	runRunning
)

// standing is the seal that P's next memory belongs to.
type standing struct {
	stands   bool
	complete bool
	epoch    Epoch
	digests  Digests
}

// started is a ring between its start and its stop.
type started struct {
	stage  ringStage
	digest Digest // when it was started
	fresh  bool
	need   uint64 // the barrier that must have passed before it is judged

	unjudged bool // it is stopped before that
}

// Secondary is the state of s. The zero Secondary waits for a migration.
type Secondary struct {
	phase  SecondaryPhase
	broken Rule
	why    string // it was poisoned

	link     bool // the mirror connection stands
	seal     standing
	sealedTo Epoch  // the next epoch that p may seal
	deferred []held // messages of p that wait for a barrier or a load, in order

	vm       run
	coloOver bool // COLO_EXIT was seen: no load can come
	blind    bool // events are missing, where that does no harm any more
	loading  int  // loads under way: S may load again before its disk is there
	has      bool // an epoch was made current
	current  Epoch

	rings  map[Ring]started
	traces []trace // of rings that were stopped before they were judged
	own    Digests // of the rings that are stopped, at their own last stop
	expect Digests // what the next start of a ring must show
	refuse Digests // and what it must not: the memory that the decision was against

	seq     uint64 // of barriers and timers
	passed  uint64 // the newest barrier that has passed
	promise uint64 // the running promise's Seq; 0: none binds
	handed  bool   // p has stopped and wants s to take over
	yanked  bool
	asked   bool
	won     bool
}

// trace is what a ring's start showed.
type trace struct {
	ring  Ring
	start started
}

// held is a message of p and the barrier that must have passed before it counts.
type held struct {
	event Event
	need  uint64
}

// Phase is what s is about.
func (s Secondary) Phase() SecondaryPhase { return s.phase }

// Why says why s is poisoned.
func (s Secondary) Why() string { return s.why }

// Bound says whether S must not outlive s: what it does unseen nobody can use, from when a memory may come
// until this side has the guest for good.
func (s Secondary) Bound() bool {
	switch s.phase {
	case SecondaryWaiting:
		return s.link
	case SecondaryPromoting, SecondaryAlone:
		return false
	default:
		return true
	}
}

// Current is the epoch that s made current last, and whether there is one.
func (s Secondary) Current() (Epoch, bool) { return s.current, s.has }

// Without leaves rules out, for tests of what they are good for.
func (s Secondary) Without(r Rule) Secondary {
	s.broken |= r
	return s
}

// on says whether a rule holds; only Without makes it false.
func (s Secondary) on(r Rule) bool { return s.broken&r == 0 }

// Step takes an event. It changes nothing of the state that it is called on.
func (s Secondary) Step(e Event) (Secondary, []Action) {
	n := &secondary{Secondary: s}
	n.rings = maps.Clone(s.rings)
	if n.rings == nil {
		n.rings = map[Ring]started{}
	}
	n.deferred, n.traces = slices.Clone(s.deferred), slices.Clone(s.traces)
	if !n.onRings(e) && !n.onMirror(e) && !n.onMonitor(e) {
		n.onRest(e)
	}
	n.catchUp()
	return n.Secondary, n.out
}

// secondary is one step in the making.
type secondary struct {
	Secondary
	out []Action
}

func (s *secondary) do(a ...Action) { s.out = append(s.out, a...) }

func (s *secondary) onRings(e Event) bool {
	switch e := e.(type) {
	case StopRequested:
		s.stopRequested(e.Ring)
	case RingStart:
		s.ringStart(e)
	case Drained:
		s.drained(e.Ring, e.Digest)
	case Disconnected:
		for r := range s.rings {
			if r.Disk == e.Disk {
				delete(s.rings, r)
			}
		}
	default:
		return false
	}
	return true
}

func (s *secondary) onMirror(e Event) bool {
	switch e := e.(type) {
	case PeerUp:
		s.peerUp()
	case Sealed, Complete, RingsStarting:
		s.fromPeer(e)
	case RenewalAsked:
		s.renew()
	case PeerLost:
		s.peerLost(e.Cause)
	case GaveUp:
		s.giveWay(e.Why)
	case HandedOver:
		s.handedOver()
	case ShutdownAnnounced:
		s.shutdownAnnounced()
	default:
		return false
	}
	return true
}

func (s *secondary) onMonitor(e Event) bool {
	switch e := e.(type) {
	case Stop:
		s.stopped()
	case Resume:
		s.resumed()
	case ColoExit:
		s.coloExit()
	case Shutdown:
		s.ended("its own QEMU was shut down: " + e.Reason)
	case QEMUGone:
		s.ended("its own QEMU has died")
	case Reset:
		if e.Foreign && !s.coloOver {
			s.poison("somebody reset the secondary's machine")
		}
	case Meddled:
		if !s.coloOver {
			s.poison("somebody changed the secondary's machine: " + e.What)
		}
	case MonitorLost:
		s.monitorLost(e.Cause)
	case BarrierPassed:
		s.passed = max(s.passed, e.Seq)
	case Yanked:
		// COLO_EXIT is what counts.
	default:
		return false
	}
	return true
}

func (s *secondary) onRest(e Event) {
	switch e := e.(type) {
	case Loaded:
		s.loaded(e.Epoch)
	case Promoted:
		s.promotedNow()
	case Won:
		s.won = s.won || e.Claim == ClaimTakeOver && s.asked
	case Lost:
		if e.Claim == ClaimTakeOver && s.asked {
			s.lost()
		}
	case Expired:
		if e.Timer == Promise && e.Seq == s.promise {
			s.promise = 0
		}
	case Failover:
		if s.link && !s.handed {
			s.do(Refuse{"the primary is there: end it, or stop its belay"})
		} else if s.phase == SecondaryPoisoned {
			s.do(Refuse{"it is poisoned: " + s.why})
		}
	case Quit:
		s.ended("belay ends")
	case WriteFailed:
		if s.phase == SecondaryAlone {
			s.do(PassErrors(e))
		} else {
			s.poison("a disk of the secondary failed")
		}
	}
}

// catchUp goes on with everything that the step may have made possible.
func (s *secondary) catchUp() {
	s.takePeer()
	s.judge()
	s.takeOver()
}

// poison is for a doubt about which state S's memory is in, and for a side that is out of the pair.
func (s *secondary) poison(why string) {
	switch s.phase {
	case SecondaryPoisoned:
		return
	case SecondaryPromoting, SecondaryAlone:
		// Its disks are the newest there are, and as a crash of S would have left them: they stay good for
		// a cold start.
		s.do(StopServing{}, EndQEMU{why})
	default:
		s.do(StopServing{}, Poison{why}, Forgo{}, EndQEMU{why})
		if s.link {
			s.do(Leave{why})
		}
	}
	s.phase, s.why = SecondaryPoisoned, why
	s.deferred = nil
}
