package colo

import (
	"maps"
	"slices"
	"time"
)

// PrimaryPhase is what p is about.
type PrimaryPhase int

// The phases of the primary.
const (
	PrimaryAlone    PrimaryPhase = iota // serves by itself
	PrimarySyncing                      // a peer is being synchronised; nothing depends on it
	PrimaryPairing                      // the witness is asked to note the pair
	PrimaryPaired                       // COLO runs or is starting; every ring stop seals
	PrimaryGivingUp                     // asks to be alone; the peer may still take over
	PrimaryEnding                       // the guest has ended; s is being told
	PrimaryHanding                      // waits for QEMU's end, then hands over
	PrimaryOut                          // serves no more
)

var primaryPhases = [...]string{
	"alone", "syncing", "pairing", "paired", "giving up", "ending", "handing over", "out",
}

func (p PrimaryPhase) String() string { return primaryPhases[p] }

// sealStage is how far the standing seal has come.
type sealStage int

const (
	sealNone       sealStage = iota // rings may run
	sealDraining                    // DrainAll is under way
	sealSent                        // s has not got all of it yet
	sealStanding                    // s may load it
	sealAnnouncing                  // s may still load it, but was told not to count on it
)

// ringStage is what a started ring does.
type ringStage int

const (
	ringHeld     ringStage = iota + 1 // started and quiet
	ringRunning                       // requests are taken
	ringDraining                      // no more are taken; some are in flight
)

// Primary is the state of p. The zero Primary serves alone.
type Primary struct {
	phase  PrimaryPhase
	broken Rule

	link   bool // the mirror connection stands
	synced bool // s has what there was
	colo   bool // StartColo was ordered: S's QEMU may load
	common bool // s has reported an epoch: it may take over
	ending bool // SHUTDOWN was seen
	gone   bool // the QEMU process has ended

	rings   map[Ring]ringStage
	waiting []Ring  // GET_VRING_BASE not answered yet
	digests Digests // of the rings that are stopped, at their last stop

	stage sealStage
	epoch Epoch // of the newest seal
	next  Epoch

	until   time.Duration // to which s has promised
	won     bool          // nobody else can serve
	stalled bool          // the witness does not answer
	yanking bool
	yanked  bool
	beat    bool // LostHeartbeat is due when no stop waits
	failed  []int

	holding bool // the hold timers run
	seq     uint64
	armed   [Promise + 1]uint64 // the newest Seq of each timer; 0: stopped
}

// Phase is what p is about.
func (p Primary) Phase() PrimaryPhase { return p.phase }

// Protected says whether s could take over now.
func (p Primary) Protected() bool { return p.phase == PrimaryPaired && p.common && p.link }

// Bound says whether P must not outlive p: from the first seal on s may have the guest, until nobody but
// this side can serve it. It is true before the seal is on its way.
func (p Primary) Bound() bool {
	switch p.phase {
	case PrimaryPaired, PrimaryGivingUp, PrimaryEnding:
		return p.next > 0 && !p.won
	case PrimaryHanding, PrimaryOut:
		return true
	default:
		return false
	}
}

// Renews says whether s is to be asked for promises. One that serves no more must not: s waits for the
// end of the last.
func (p Primary) Renews() bool {
	switch p.phase {
	case PrimarySyncing, PrimaryPairing, PrimaryPaired, PrimaryEnding:
		return p.link
	default:
		return false
	}
}

// Epoch is the newest epoch that was sealed, and whether there is one.
func (p Primary) Epoch() (Epoch, bool) { return p.epoch, p.next > 0 }

// Without leaves rules out, for tests of what they are good for.
func (p Primary) Without(r Rule) Primary {
	p.broken |= r
	return p
}

// Step takes an event. It changes nothing of the state that it is called on.
func (p Primary) Step(e Event) (Primary, []Action) {
	s := &primary{Primary: p}
	s.rings = maps.Clone(p.rings)
	if s.rings == nil {
		s.rings = map[Ring]ringStage{}
	}
	s.waiting = slices.Clone(p.waiting)
	if !s.onRings(e) && !s.onMirror(e) {
		s.onRest(e)
	}
	return s.Primary, s.out
}

// primary is one step in the making.
type primary struct {
	Primary
	out []Action
}

func (s *primary) do(a ...Action) { s.out = append(s.out, a...) }

// on says whether a rule holds; only Without makes it false.
func (p Primary) on(r Rule) bool { return p.broken&r == 0 }

func (s *primary) onRings(e Event) bool {
	switch e := e.(type) {
	case StopRequested:
		s.stopRequested(e.Ring)
	case RingStart:
		s.ringStart(e.Ring)
	case Drained:
		s.drained(e.Ring, e.Digest)
	case Quiesced:
		s.quiesced(e.Digests)
	case Disconnected:
		s.disconnected(e.Disk)
	default:
		return false
	}
	return true
}

func (s *primary) onMirror(e Event) bool {
	switch e := e.(type) {
	case PeerUp:
		if s.phase == PrimaryAlone && !s.ending {
			s.phase, s.link, s.synced, s.until = PrimarySyncing, true, false, 0
		}
	case Synced:
		s.synced = s.phase == PrimarySyncing
		s.pairUp()
	case PeerLost:
		s.link = false
		s.giveUp(e.Cause)
	case PeerLeft:
		s.peerLeft(e.Why)
	case Acked:
		s.acked(e.Epoch)
	case Progress:
		if s.holding {
			s.arm(HoldIdle)
		}
	case StartAcked:
		s.startAcked(e.Epoch)
	case Reported:
		if s.phase == PrimaryPaired {
			s.common = true
			s.do(Commit(e))
		}
	case Renewed:
		s.renewed(e.Until)
	case ShutdownAcked:
		s.shutdownAcked()
	default:
		return false
	}
	return true
}

func (s *primary) onRest(e Event) {
	switch e := e.(type) {
	case ColoExit:
		s.coloExit(e.Reason)
	case MigrationFailed:
		s.coloExit(e.Why)
	case Shutdown:
		s.shutdown()
	case MonitorLost:
		// Without it nothing can be yanked, and nothing waits for that any longer: S is not to serve by
		// what the witness or its incomplete seal say.
		s.yankDone()
	case Yanked:
		s.yankDone()
	case QEMUGone:
		s.qemuGone()
	case Won:
		s.claimWon(e.Claim)
	case Lost:
		s.claimLost(e.Claim)
	case Unreachable:
		s.unreachable(e.Claim)
	case Expired:
		s.expired(e.Timer, e.Seq)
	case DeadlinePassed:
		s.giveUp("the peer's promise ran out")
	case Failover:
		s.failover()
	case Quit:
		if s.Protected() {
			s.handOver("belay ends")
		}
	case WriteFailed:
		s.writeFailed(e.Disk)
	}
}

// arm starts a timer; only its newest start counts.
func (s *primary) arm(t Timer) {
	s.seq++
	s.armed[t] = s.seq
	s.do(StartTimer{t, s.seq})
}

func (s *primary) disarm(t Timer) {
	if s.armed[t] != 0 {
		s.armed[t] = 0
		s.do(StopTimer{t})
	}
}

// hold bounds how long p waits for s, from the first wait of a stop to the last answer.
func (s *primary) hold(waits bool) {
	if waits == s.holding {
		return
	}
	s.holding = waits
	for _, t := range []Timer{HoldIdle, HoldTotal} {
		if waits {
			s.arm(t)
		} else {
			s.disarm(t)
		}
	}
}

func (s *primary) expired(t Timer, seq uint64) {
	if seq == 0 || s.armed[t] != seq {
		return
	}
	s.armed[t] = 0
	switch t {
	case HoldIdle, HoldTotal:
		s.giveUp("the peer did not take the epoch in time")
	case Linger:
		if s.phase == PrimaryPaired && s.stage == sealStanding && len(s.waiting) == 0 {
			s.announce()
		}
	}
}

func (s *primary) renewed(until time.Duration) {
	s.until = max(s.until, until)
	s.pairUp()
	if s.phase == PrimaryPaired || s.phase == PrimaryEnding {
		s.serveUntil(s.until)
	}
}

// serveUntil bounds publishing.
func (s *primary) serveUntil(t time.Duration) {
	if !s.on(PublishByPromise) {
		t = Forever
	}
	s.do(ServeUntil{t})
}
