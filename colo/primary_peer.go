package colo

import "slices"

// How p gets a peer and gives it up.
//
// Giving up while a stop is held must first make the load impossible, or S loads a memory whose disk s
// has not got: win the witness, yank, answer, heartbeat. When the witness does not answer, the yank goes
// first all the same, as it hurts nobody who is given up; the stop is answered and the rings stay held.

// pairUp asks for a pair when s is worth it, and has promised: from then on p publishes by its promise.
func (s *primary) pairUp() {
	if s.phase == PrimarySyncing && s.synced && s.until > 0 {
		s.phase = PrimaryPairing
		s.do(AskWitness{ClaimPair})
	}
}

func (s *primary) claimWon(c Claim) {
	switch {
	case c == ClaimPair && s.phase == PrimaryPairing:
		s.phase = PrimaryPaired
		s.won, s.stalled, s.yanking, s.yanked = false, false, false, false
		s.next = 0
		s.serveUntil(s.until)
		if s.busy() && len(s.waiting) == 0 {
			s.startColo()
		} else {
			s.drainAll() // no ring may stop before QEMU loads: what there is goes over first
		}
	case c == ClaimAlone:
		s.win()
	}
}

func (s *primary) startColo() {
	if !s.colo {
		s.colo = true
		s.do(StartColo{})
	}
}

// busy says whether any ring runs.
func (s *primary) busy() bool {
	for _, stage := range s.rings {
		if stage != ringHeld {
			return true
		}
	}
	return false
}

func (s *primary) claimLost(c Claim) {
	if s.phase == PrimaryPairing || s.phase == PrimaryGivingUp && c == ClaimAlone {
		if s.on(FenceLoser) {
			s.fence("somebody else serves this guest")
		} else {
			s.win()
		}
	}
}

// fence stops for good: the other side serves.
func (s *primary) fence(why string) {
	s.phase = PrimaryOut
	s.hold(false)
	s.disarm(Linger)
	s.do(StopServing{}, Forgo{}, EndQEMU{why})
}

func (s *primary) unreachable(c Claim) {
	if s.phase == PrimaryGivingUp && c == ClaimAlone && !s.won {
		s.stalled = true
		s.yank()
		s.settle()
	}
}

// giveUp begins to go on alone.
func (s *primary) giveUp(why string) {
	switch s.phase {
	case PrimarySyncing:
		s.phase, s.link = PrimaryAlone, false
		s.do(GiveUpPeer{why})
		return
	case PrimaryPairing, PrimaryPaired, PrimaryEnding:
	default:
		return
	}
	s.phase = PrimaryGivingUp
	s.hold(false)
	s.disarm(Linger)
	if s.stage != sealDraining {
		s.stage = sealNone
	}
	s.do(GiveUpPeer{why})
	if !s.on(AloneByWitness) {
		s.win()
		return
	}
	s.do(AskWitness{ClaimAlone})
	for _, r := range s.waiting {
		s.drain(r)
	}
	s.answer()
}

// peerLeft needs no answer of the witness: p and s are two of three. It is told nevertheless.
func (s *primary) peerLeft(why string) {
	s.link = false
	s.giveUp(why)
	s.win()
}

// win says that nobody else can serve this guest from now on.
func (s *primary) win() {
	if s.phase != PrimaryGivingUp || s.won {
		return
	}
	s.won = true
	s.do(ServeUntil{Forever})
	s.yank()
	s.settle()
}

func (s *primary) yank() {
	if !s.colo || s.yanking || s.yanked {
		return
	}
	if !s.on(YankFirst) {
		s.yanked = true
		return
	}
	s.yanking = true
	s.do(Yank{})
}

func (s *primary) yankDone() {
	if s.yanking {
		s.yanking, s.yanked = false, true
		s.settle()
	}
}

// settle goes on with giving up as far as it can.
func (s *primary) settle() {
	if s.phase != PrimaryGivingUp {
		s.answer()
		return
	}
	if !s.won || s.colo && !s.yanked {
		s.answer()
		return
	}
	s.phase, s.link, s.common = PrimaryAlone, false, false
	s.beat = s.colo && !s.gone
	s.colo, s.gone = false, false
	for _, d := range s.failed {
		s.do(PassErrors{d})
	}
	s.failed = nil
	for _, r := range s.waiting {
		s.drain(r)
	}
	s.answer()
	if s.stage == sealNone {
		s.release()
	}
}

// coloExit: QEMU has nobody any more to send checkpoints to, and waits to be told.
func (s *primary) coloExit(reason string) {
	if s.phase == PrimaryPaired {
		s.giveUp("QEMU has left COLO: " + reason)
	}
}

func (s *primary) failover() {
	if s.phase == PrimaryAlone || s.phase == PrimaryOut {
		s.do(Refuse{"there is no peer to give up: " + s.phase.String()})
		return
	}
	s.giveUp("the operator gave it up")
}

// shutdown: s would take the end for a crash. It is told; if it cannot be told, it must lose the race for
// the witness.
func (s *primary) shutdown() {
	s.ending = true
	if !s.on(TellShutdown) {
		return
	}
	switch s.phase {
	case PrimarySyncing, PrimaryPairing:
		s.giveUp("the guest has ended")
	case PrimaryPaired:
		s.phase = PrimaryEnding
		s.disarm(Linger)
		if s.stage != sealDraining {
			s.stage = sealNone
		}
		s.do(AnnounceShutdown{})
		s.holding = false
		s.hold(true)
		for _, r := range s.waiting {
			s.drain(r)
		}
		s.answer()
	}
}

func (s *primary) shutdownAcked() {
	if s.phase == PrimaryEnding {
		s.giveUp("the guest has ended")
		s.win()
	}
}

// qemuGone without SHUTDOWN is a crash: s has the guest that is left.
func (s *primary) qemuGone() {
	s.gone = true
	clear(s.rings)
	s.waiting, s.beat = nil, false
	switch s.phase {
	case PrimaryHanding:
		s.handed("the primary hands over")
	case PrimaryPaired:
		if s.Protected() {
			s.do(StopServing{})
			s.handed("the primary's QEMU has died")
			return
		}
		s.giveUp("QEMU has died")
	case PrimaryGivingUp:
		if s.common && !s.ending && !s.won {
			s.phase = PrimaryOut
			s.do(Forgo{}, StopServing{})
		}
	case PrimaryAlone:
		s.gone = false // the next one may come
	}
	s.yankDone()
}

// handOver gives the guest to s, while this side still can. S has not got the last of what this guest did,
// but nothing that was released to the outside.
func (s *primary) handOver(why string) {
	s.phase = PrimaryHanding
	s.hold(false)
	s.disarm(Linger)
	if !s.on(StopBeforeHandOver) {
		s.do(HandOver{why})
		return
	}
	s.do(StopServing{}, EndQEMU{why})
}

func (s *primary) handed(why string) {
	s.phase = PrimaryOut
	s.hold(false)
	s.disarm(Linger)
	if s.link {
		s.do(HandOver{why})
	}
}

// writeFailed: the request is held. An error reaches the guest only if nobody else could serve it.
func (s *primary) writeFailed(disk int) {
	switch {
	case s.Protected():
		s.handOver("a disk of the primary failed")
	case s.phase == PrimaryGivingUp:
		if !slices.Contains(s.failed, disk) {
			s.failed = append(slices.Clone(s.failed), disk)
		}
	case s.phase != PrimaryHanding && s.phase != PrimaryOut:
		s.do(PassErrors{disk})
	}
}
