package checkpoint

// A flush round makes everything in the journal so far durable, for all who wait. One round
// serves every FLUSH that waited when it began; those that come later share the next.
//
// The order of its steps is what keeps the promise; docs/ORDERING.md says what each swap breaks,
// and the crash test swaps them.
type flushRound struct {
	waiters []flushWaiter
	cut     position     // end of the journal when the round began
	passed  intentNumber // the last intent drawn before
	seal    uint64       // newest batch of limbo given up before cut
	idle    bool         // nothing new since the last round

	epoch             epoch // the open one when the round began
	spent             spent
	dataNs, journalNs uint64 // of the two syncs
}

// flushWaiter is a request of a lane, or a caller of Sync.
type flushWaiter struct {
	lane *lane
	tag  uint32
	done chan error
}

// tell reports the outcome, and what of the time went to the device.
func (f flushWaiter) tell(err error, t spent) {
	if f.lane == nil {
		f.done <- err
		return
	}
	f.lane.post(func(m *mail) { m.flushed = append(m.flushed, flushed{f.tag, err, t}) })
}

// step is a row of an ordered procedure.
type step[T any] struct {
	name string
	do   func(*Store, *T) error
}

// flushOrder is the procedure of a flush round. Its rows are those of docs/ORDERING.md.
var flushOrder = []step[flushRound]{
	{"sync the data", (*Store).syncData},
	{"append the proof", (*Store).prove},
	{"sync the journal", (*Store).syncJournal},
	{"free what was given up", (*Store).freeGivenUp},
	{"answer", (*Store).answer},
}

// joinFlush adds a waiter to the next round. It returns false if everything is durable already,
// or if this store may not change the disk and so has nothing of its own to make durable.
// The store's mutex is held.
func (s *Store) joinFlush(w flushWaiter) bool {
	if s.durable() {
		return false
	}
	s.flush.waiters = append(s.flush.waiters, w)
	s.background.pokeFlush()
	return true
}

// durable reports whether a flush has nothing to do. The store's mutex is held.
func (s *Store) durable() bool {
	return s.opts.ReadOnly ||
		s.journal.tail() == s.flush.synced && !s.flush.running && len(s.flush.waiters) == 0
}

// flushState is what rounds leave behind. The store's mutex guards it.
type flushState struct {
	waiters []flushWaiter
	synced  position // everything before it is durable
	running bool
	wanted  bool // a round shall run though nobody waits

	unsealed []unsealed // ascending
}

// flushOnce runs a round if there is reason to, and reports whether there was.
func (s *Store) flushOnce() bool {
	s.mu.Lock()
	if len(s.flush.waiters) == 0 && !s.flush.wanted {
		s.mu.Unlock()
		return false
	}
	r := flushRound{waiters: s.flush.waiters, cut: s.journal.tail(), seal: s.limbo.seal(), epoch: s.epoch}
	waiters := len(r.waiters)
	if r.idle = r.cut == s.flush.synced; !r.idle {
		r.passed = s.passIntents()
		s.intents.rounded = r.passed
	}
	s.flush.waiters, s.flush.wanted, s.flush.running = nil, false, true
	err := s.poisoned()
	s.mu.Unlock()
	if err == nil {
		err = perform(s, flushOrder, &r)
	}
	s.mu.Lock()
	s.flush.running = false
	sealed := s.takeSealed()
	s.mu.Unlock()
	s.tellRound(&r, waiters, sealed)
	if err != nil {
		err = s.poison(err)
		for _, w := range r.waiters {
			w.tell(err, r.spent)
		}
	}
	return true
}

// perform executes a procedure row by row until one fails.
func perform[T any](s *Store, order []step[T], on *T) error {
	for _, row := range order {
		if err := row.do(s, on); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) syncData(r *flushRound) (err error) {
	r.dataNs, err = r.spent.timed(s.dataSync)
	return err
}

// prove says in the journal that the data of everything before the cut is durable: after a power
// cut recovery believes the journal exactly so far.
func (s *Store) prove(r *flushRound) error {
	if r.idle {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.journal.tail() == r.cut
	if err := s.journal.prove(proof{r.cut, r.passed}); err != nil {
		return err
	}
	if last {
		r.cut = s.journal.tail() // the proof itself needs none
	}
	return nil
}

func (s *Store) syncJournal(r *flushRound) error {
	if r.idle {
		return nil
	}
	var err error
	if r.journalNs, err = r.spent.timed(s.journal.sync); err != nil {
		return poison(err)
	}
	s.stats.flushes.Add(1)
	s.background.report(faultWrite, nil)
	return nil
}

// freeGivenUp lets go of the slots that records before the cut gave up.
func (s *Store) freeGivenUp(r *flushRound) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.cut > s.flush.synced {
		s.flush.synced = r.cut
	}
	s.intents.passed = max(s.intents.passed, r.passed)
	s.limbo.durable(r.seal)
	s.limbo.collect(s.release)
	if s.excess() > s.tuning.growSlots/4 { // for less it is not worth to wake anybody
		s.background.pokeTend()
	}
	return nil
}

func (s *Store) answer(r *flushRound) error {
	for _, w := range r.waiters {
		w.tell(nil, r.spent)
	}
	r.waiters = nil
	return nil
}

// Sync makes everything written so far durable.
func (s *Store) Sync() error {
	done := make(chan error, 1)
	s.mu.Lock()
	err := s.poisoned()
	joined := err == nil && s.joinFlush(flushWaiter{done: done})
	s.mu.Unlock()
	if !joined {
		return err
	}
	s.background.help(s.flushOnce)
	return <-done
}
