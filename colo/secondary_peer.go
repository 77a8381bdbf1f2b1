package colo

// How s keeps its promise, takes over and gives way.
//
// The order of a takeover: yank, so that QEMU can load no more and does not hang in a read; COLO_EXIT, after
// which every RESUME is S's own; the promise's end; the witness; make everything durable; then
// x-colo-lost-heartbeat, which lets S talk to the world. The yank needs nobody's leave: it takes only s's
// own chance to follow p, which without the mirror connection is gone.

// peerUp: what s is synchronised with may become its own. While that was not so promises were given for
// nothing, and nobody counted them; the newest may be as new as this.
func (s *secondary) peerUp() {
	s.link = s.phase == SecondaryWaiting
	if s.link {
		s.count()
	}
}

// renew promises once more not to take over. The timer runs before the promise is on its way.
func (s *secondary) renew() {
	if !s.link || s.phase != SecondaryWaiting && s.phase != SecondaryFollowing {
		return
	}
	s.count()
	s.do(Renew{})
}

// count binds s by a promise from now on.
func (s *secondary) count() {
	s.seq++
	s.promise = s.seq
	s.do(StartTimer{Promise, s.seq})
}

func (s *secondary) peerLost(cause string) {
	s.link = false
	s.orphan("the primary was lost before the first epoch: " + cause)
}

// handedOver: p serves no more, so the promise to it binds no more.
func (s *secondary) handedOver() {
	s.handed, s.promise = true, 0
	s.do(StopTimer{Promise})
	s.orphan("the primary handed over before the first epoch was loaded")
}

func (s *secondary) orphan(unsynced string) {
	switch s.phase {
	case SecondaryWaiting:
		if s.on(SyncedOnly) && s.loading == 0 {
			s.poison(unsynced)
			return
		}
	case SecondaryFollowing:
	default:
		return
	}
	s.phase = SecondaryOrphan
	s.yank()
}

func (s *secondary) yank() {
	if !s.coloOver && !s.yanked && s.on(YankOrphan) {
		s.yanked = true
		s.do(Yank{})
	}
}

// takeOver goes on with the takeover as far as it can.
func (s *secondary) takeOver() {
	if s.phase != SecondaryOrphan {
		return
	}
	over := s.coloOver || !s.on(ExitFirst)
	if !over || s.loading > 0 || len(s.deferred) > 0 {
		return // it could still be poisoned; a won claim would then leave nobody
	}
	if !s.asked && (s.promise == 0 || !s.on(KeepPromise)) {
		s.asked = true
		s.do(AskWitness{ClaimTakeOver})
		s.won = !s.on(TakeOverByWitness)
	}
	if s.won {
		s.phase = SecondaryPromoting
		s.do(Promote{})
	}
}

// promotedNow: S may talk to the world. The heartbeat stops it once more.
func (s *secondary) promotedNow() {
	if s.phase != SecondaryPromoting {
		return
	}
	s.phase = SecondaryAlone
	s.do(LostHeartbeat{})
}

// lost: p was first and goes on alone.
func (s *secondary) lost() {
	if !s.on(FenceLoser) {
		s.won = true
		return
	}
	s.poison("the primary goes on alone")
}

// giveWay: p goes on without s. It counts on s's word, so s keeps it or says nothing.
func (s *secondary) giveWay(why string) {
	if s.phase == SecondaryWaiting || s.phase == SecondaryFollowing {
		s.poison("given up by the primary: " + why)
	}
}

// shutdownAnnounced: COLO_EXIT and a lost connection that follow are no crash.
func (s *secondary) shutdownAnnounced() {
	if !s.on(HeedShutdown) || s.phase != SecondaryWaiting && s.phase != SecondaryFollowing {
		return
	}
	s.tellShutdown()
}

func (s *secondary) tellShutdown() {
	link := s.link
	s.link = false // AckShutdown says more than Leave
	s.poison("the guest was shut down")
	if link {
		s.do(AckShutdown{})
	}
}

// ended: S itself is no more. One that serves ends like any other machine.
func (s *secondary) ended(why string) {
	if s.phase != SecondaryAlone {
		s.poison(why)
	}
}

// AsPrimary is the state in which a secondary that has taken over goes on, once it is settled: it serves
// alone, its VM runs, and every ring that was started has been judged.
func (s Secondary) AsPrimary() (Primary, bool) {
	p := Primary{broken: s.broken, rings: map[Ring]ringStage{}, digests: s.own}
	for r, ring := range s.rings {
		if ring.stage != ringRunning {
			return Primary{}, false
		}
		p.rings[r] = ringRunning
	}
	return p, s.phase == SecondaryAlone && s.vm == runRunning
}
