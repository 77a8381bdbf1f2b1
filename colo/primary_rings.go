package colo

import "slices"

// Ring stops, seals and ring starts on p.
//
// While a pair runs, the first stop of any ring drains all rings of the VM and seals once. QEMU stops
// the disks one after the other, so the seal of the first one answers for the others. When it was not
// the VM that stopped but one device (a driver was unbound), the other disks' rings are waited for in
// vain, and Linger lets them go on.

func (s *primary) stopRequested(r Ring) {
	if s.phase == PrimaryOut || s.phase == PrimaryHanding {
		return // QEMU is being ended; nothing that it does on an answer is wanted
	}
	if !slices.Contains(s.waiting, r) {
		s.waiting = append(s.waiting, r)
	}
	s.disarm(Linger)
	if s.phase == PrimaryPaired {
		s.sealForStop()
		return
	}
	s.drain(r)
	s.answer()
}

// sealForStop goes on with the seal that a stop waits for.
func (s *primary) sealForStop() {
	switch s.stage {
	case sealNone:
		s.drainAll()
	case sealStanding:
		s.answer()
	case sealDraining, sealSent, sealAnnouncing:
		// Its end looks for stops that wait.
	}
	if !s.on(AnswerAfterDrain) {
		s.answerNow()
	}
}

func (s *primary) drainAll() {
	s.stage = sealDraining
	for r := range s.rings {
		s.rings[r] = ringDraining
	}
	s.do(DrainAll{})
}

// drain finishes one ring, where nobody needs a seal.
func (s *primary) drain(r Ring) {
	if s.rings[r] == ringRunning {
		s.rings[r] = ringDraining
		s.do(Drain{r})
	}
}

func (s *primary) drained(r Ring, d Digest) {
	if s.rings[r] == ringDraining {
		s.rings[r] = ringHeld
	}
	s.digests = s.digests.with(r, d)
	s.answer()
}

func (s *primary) quiesced(d Digests) {
	for r, stage := range s.rings {
		if stage == ringDraining {
			s.rings[r] = ringHeld
		}
	}
	for _, r := range sorted(d) {
		s.digests = s.digests.with(r, d[r])
	}
	if s.stage != sealDraining {
		return
	}
	if s.phase != PrimaryPaired {
		s.stage = sealNone
		s.settle()
		return
	}
	s.stage, s.epoch = sealSent, s.next
	s.next++
	s.do(Seal{s.epoch, s.digests})
	s.hold(true)
	if !s.on(AnswerAfterAck) {
		s.answerNow()
	}
}

func (s *primary) acked(e Epoch) {
	if s.phase != PrimaryPaired || s.stage != sealSent || e != s.epoch {
		return
	}
	s.stage = sealStanding
	s.hold(false)
	s.startColo()
	s.answer()
}

// answer answers every stop that may be answered.
func (s *primary) answer() {
	if !s.mayAnswer() {
		return
	}
	s.answerNow()
	if s.stage == sealStanding && len(s.rings) > 0 {
		s.arm(Linger)
	}
	if s.beat && len(s.waiting) == 0 {
		s.beat = false
		s.do(LostHeartbeat{})
	}
}

func (s *primary) mayAnswer() bool {
	switch s.phase {
	case PrimaryPaired:
		return s.stage == sealStanding
	case PrimaryGivingUp:
		return !s.colo || s.yanked
	case PrimaryHanding, PrimaryOut:
		return false
	default:
		return true
	}
}

func (s *primary) answerNow() {
	s.waiting = slices.DeleteFunc(s.waiting, func(r Ring) bool {
		busy := s.rings[r] == ringRunning || s.rings[r] == ringDraining
		if busy && s.on(AnswerAfterDrain) {
			return false
		}
		delete(s.rings, r)
		s.do(AnswerStop{r})
		return true
	})
}

func (s *primary) ringStart(r Ring) {
	s.rings[r] = ringHeld
	s.forget(func(w Ring) bool { return w == r }) // a new connection: nobody waits for the old one's answer
	s.digests = s.digests.without(r)
	switch s.phase {
	case PrimaryAlone, PrimarySyncing, PrimaryPairing, PrimaryEnding:
		s.release()
	case PrimaryPaired:
		s.startSealed()
	case PrimaryGivingUp:
		if !s.on(HoldUnreachable) && s.stalled {
			s.release()
		}
	}
}

// startSealed lets a ring start while a pair runs.
func (s *primary) startSealed() {
	switch s.stage {
	case sealNone:
		s.release()
	case sealStanding:
		s.announce()
	case sealDraining, sealSent, sealAnnouncing:
		// It stays held until the stop that is being sealed, or the announcement, is through.
	}
}

// announce takes the seal back; rings run when s has heard it.
func (s *primary) announce() {
	s.disarm(Linger)
	if !s.on(AnnounceStarts) {
		s.stage = sealNone
		s.release()
		return
	}
	s.stage = sealAnnouncing
	s.do(AnnounceStart{s.epoch})
	s.hold(true)
	if !s.on(StartAfterAck) {
		s.release()
	}
}

func (s *primary) startAcked(e Epoch) {
	if s.phase != PrimaryPaired || s.stage != sealAnnouncing || e != s.epoch {
		return
	}
	s.stage = sealNone
	s.hold(false)
	if len(s.waiting) > 0 {
		s.drainAll() // a stop came in between: s needs a new seal for it
		return
	}
	s.release()
}

// release lets every ring run that is held and that no stop waits for.
func (s *primary) release() {
	for _, r := range sorted(s.rings) {
		if s.rings[r] == ringHeld && !slices.Contains(s.waiting, r) {
			s.rings[r] = ringRunning
			s.do(Release{r})
		}
	}
}

// disconnected forgets a disk's rings. There is no stop to answer, but it is one, so it seals: QEMU may go
// on with a checkpoint. If that is faster than the seal, s finds that none stands, or that it is not whole.
func (s *primary) disconnected(disk int) {
	for r := range s.rings {
		if r.Disk == disk {
			delete(s.rings, r)
		}
	}
	s.forget(func(r Ring) bool { return r.Disk == disk })
	if s.phase == PrimaryPaired && s.stage == sealNone {
		s.drainAll()
	}
}

// forget drops stops that nobody waits for any more.
func (s *primary) forget(which func(Ring) bool) { s.waiting = slices.DeleteFunc(s.waiting, which) }
