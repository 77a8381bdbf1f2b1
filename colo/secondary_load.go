package colo

// Which state S's memory is in, and which the disk is to be in.

// fromPeer takes a message of p that is about seals. They count in their order; an announcement counts
// when every event that QEMU sent before it came was read, a load of that seal among them.
func (s *secondary) fromPeer(e Event) {
	if s.phase == SecondaryPoisoned || s.phase == SecondaryAlone {
		return
	}
	h := held{event: e}
	if _, ok := e.(RingsStarting); ok && s.on(BarrierAtAnnounce) {
		h.need = s.barrier()
	}
	s.deferred = append(s.deferred, h)
}

func (s *secondary) barrier() uint64 {
	s.seq++
	s.do(Barrier{s.seq})
	return s.seq
}

// takePeer takes the messages whose time has come.
func (s *secondary) takePeer() {
	for len(s.deferred) > 0 && s.ready(s.deferred[0]) {
		h := s.deferred[0]
		s.deferred = s.deferred[1:]
		switch e := h.event.(type) {
		case Sealed:
			s.sealed(e)
		case Complete:
			s.completed(e.Epoch)
		case RingsStarting:
			s.starting(e)
		}
	}
}

func (s *secondary) ready(h held) bool {
	if _, ok := h.event.(Complete); ok && s.loading > 0 {
		return false // one staged epoch at a time
	}
	return s.passed >= h.need
}

// tell answers p, if it is there.
func (s *secondary) tell(a Action) {
	if s.link {
		s.do(a)
	}
}

func (s *secondary) sealed(e Sealed) {
	if s.seal.stands {
		s.poison("the primary sealed twice without a start in between")
		return
	}
	if s.sealedTo > e.Epoch {
		s.poison("the primary sealed an older epoch")
		return
	}
	s.sealedTo = e.Epoch + 1
	s.seal = standing{stands: true, epoch: e.Epoch, digests: e.Digests}
}

// starting puts the seal away.
func (s *secondary) starting(e RingsStarting) {
	if !s.seal.stands || s.seal.epoch != e.Epoch {
		s.poison("the primary starts on an epoch that it has not sealed")
		return
	}
	s.seal = standing{}
	s.tell(AckStart(e))
}

func (s *secondary) completed(e Epoch) {
	if s.seal.stands && s.seal.epoch == e && !s.seal.complete {
		s.seal.complete = true
		s.tell(AckSeal{e})
	}
}

func (s *secondary) stopped() {
	if s.vm != runRunning && !s.coloOver {
		s.poison("STOP of a machine that did not run")
		return
	}
	s.vm = runStopped
}

// resumed makes the decision; docs and reasons are in the table of the package comment.
func (s *secondary) resumed() {
	was := s.vm
	s.vm = runRunning
	switch {
	case s.phase == SecondaryPoisoned:
	case s.coloOver && s.on(ExitKeeps):
		s.expect, s.refuse = s.own, s.seal.digests
		s.do(KeepOwn{})
	case s.on(ExitKeeps) && (s.phase == SecondaryPromoting || s.phase == SecondaryAlone):
	case was == runRunning:
		s.poison("RESUME of a machine that ran")
	case s.busy():
		s.poison("RESUME while rings ran")
	case !s.seal.stands && !s.on(NoSealNoLoad):
		s.expect = s.own
		s.do(KeepOwn{})
	case !s.seal.stands:
		s.poison("a load, or cont, without a standing seal")
	case !s.seal.complete && s.on(LoadComplete):
		s.poison("a load of an epoch that has not come whole")
	case s.has && s.current == s.seal.epoch && !s.on(LoadAgain):
		s.expect = s.seal.digests
	default:
		s.load()
	}
}

func (s *secondary) load() {
	s.loading++
	s.has, s.current = true, s.seal.epoch
	s.expect, s.refuse = s.seal.digests, s.own
	s.do(Load{s.current})
}

// busy says whether any ring takes requests.
func (s *secondary) busy() bool {
	for _, r := range s.rings {
		if r.stage != ringHeld {
			return true
		}
	}
	return false
}

func (s *secondary) loaded(e Epoch) {
	if s.loading == 0 || s.phase == SecondaryPoisoned {
		return
	}
	s.loading--
	if s.loading > 0 {
		return // the last one counts
	}
	if s.phase == SecondaryWaiting {
		s.phase = SecondaryFollowing
	}
	s.tell(Report{e})
}

func (s *secondary) stopRequested(r Ring) {
	ring, ok := s.rings[r]
	if !ok || s.phase == SecondaryPoisoned {
		s.do(AnswerStop{r}) // nothing of it can be in flight, or nobody cares
		return
	}
	if ring.stage == ringHeld {
		s.traces = append(s.traces, trace{r, ring})
		ring.unjudged = true
	}
	ring.stage = ringDraining
	s.rings[r] = ring
	s.do(Drain{r})
}

// drained answers the stop. It waits for nothing else: STOP is sent only after the answer.
func (s *secondary) drained(r Ring, d Digest) {
	ring := s.rings[r]
	if ring.stage != ringDraining {
		return
	}
	delete(s.rings, r)
	if !ring.unjudged {
		s.own = s.own.with(r, d)
	}
	s.do(AnswerStop{r})
}

// ringStart holds the ring until every event before it was read.
func (s *secondary) ringStart(e RingStart) {
	if s.phase == SecondaryPoisoned {
		return
	}
	ring := started{stage: ringHeld, digest: e.Digest, fresh: e.Fresh}
	if !s.blind && s.on(BarrierAtStart) {
		ring.need = s.barrier()
	}
	s.rings[e.Ring] = ring
}

// judge looks at the rings about which everything is known, and releases those that still are started.
func (s *secondary) judge() {
	if s.phase == SecondaryPoisoned || s.loading > 0 {
		return
	}
	s.judgeTraces()
	if s.vm != runRunning && !s.blind && s.on(BarrierAtStart) {
		return
	}
	for _, r := range sorted(s.rings) {
		ring := s.rings[r]
		if ring.stage != ringHeld || !s.known(ring) {
			continue
		}
		if !s.fits(r, ring) {
			return
		}
		ring.stage = ringRunning
		s.rings[r] = ring
		s.own = s.own.without(r)
		s.do(Release{r})
	}
}

// known says whether every event before a ring's start was read.
func (s *secondary) known(ring started) bool { return ring.need <= s.passed || s.blind }

// judgeTraces looks at rings that were started and stopped again: what they showed still tells whose
// memory this is.
func (s *secondary) judgeTraces() {
	for len(s.traces) > 0 && s.known(s.traces[0].start) {
		t := s.traces[0]
		s.traces = s.traces[1:]
		if !s.fits(t.ring, t.start) {
			return
		}
		s.own = s.own.with(t.ring, t.start.digest)
	}
}

// fits compares a ring with the one that the decision expects, and with the one that it was against. One
// that is neither may have been set up by its driver since, if it was never used. The first start after a
// decision is what counts.
func (s *secondary) fits(r Ring, ring started) bool {
	ok := s.likely(r, ring)
	s.expect, s.refuse = s.expect.without(r), s.refuse.without(r)
	if ok {
		return true
	}
	whose := "the primary's seal"
	if s.coloOver {
		whose = "its own stop"
	}
	s.poison("the memory of a ring is not that of " + whose)
	return false
}

func (s *secondary) likely(r Ring, ring started) bool {
	want, known := s.expect[r]
	if s.blind || known && ring.digest.agrees(want) || !s.on(CheckDigest) {
		return true
	}
	wrong, against := s.refuse[r]
	return (ring.fresh || !known) && !(against && ring.digest.agrees(wrong))
}

func (s *secondary) coloExit() {
	s.coloOver = true
	if s.phase == SecondaryWaiting && s.loading == 0 && s.on(SyncedOnly) {
		s.poison("COLO ended before the first epoch was loaded")
	}
}

// monitorLost: after a gap nobody can say how often S was stopped and loaded, unless nothing could load it
// any more.
func (s *secondary) monitorLost(cause string) {
	if !s.coloOver && s.on(GapPoisons) {
		s.poison("events of QEMU are missing: " + cause)
		return
	}
	s.blind = true
}
