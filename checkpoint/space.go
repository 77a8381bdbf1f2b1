package checkpoint

// The data area grows while what is neither live nor retained is within the slack, and no
// further: beyond that, slots in limbo are made free by a flush round instead. A guest that
// never flushes does not fill the disk.

// slack returns how many slots may be neither live nor retained. The store's mutex is held.
func (s *Store) slack() uint64 {
	used := s.slots.usage().referenced
	return max(used*uint64(s.super.slack)/100, s.tuning.minSlack)
}

// makeSpace finds free slots for requests that wait: by growing the data area, by a flush round,
// by punching what is to be punched, in this order. When none of them yields any, the requests
// that wait fail.
func (s *Store) makeSpace() {
	if err := s.findSpace(); err != nil {
		s.outOfSpace(err)
		return
	}
	s.background.report(faultSpace, nil)
	s.mu.Lock()
	s.want.space = false
	s.wakeLanes()
	s.mu.Unlock()
}

// findSpace does the first of them that yields something. ErrNoSpace if none does.
func (s *Store) findSpace() error {
	s.mu.Lock()
	most := s.mayGrow()
	limbo, trims := s.limbo.blocks, s.trims.n
	s.mu.Unlock()
	var err error
	switch {
	case most > 0 && s.grow(s.tuning.growSlots, &err):
	case s.owing() && s.catchUpOnce(): // it gives up what was overwritten
	case limbo > 0 && s.flushForSpace():
	case trims > 0:
		s.trimOnce()
	case most == 0 && s.grow(s.tuning.growSlots, &err):
	case err == nil:
		return ErrNoSpace
	default:
		return err
	}
	return nil
}

// mayGrow returns by how many slots the data area may grow before what is free exceeds the slack.
// The store's mutex is held.
func (s *Store) mayGrow() uint64 {
	u := s.slots.usage()
	bound := u.referenced + u.cold + s.slack()
	return bound - min(bound, u.total)
}

// keepRoom has the data area grow before writes need it, as long as it may, so that they do not
// wait for it, and find whole segments while others still fill up with free slots again. The
// store's mutex is held.
func (s *Store) keepRoom() {
	const worth = 16 // one part of a step in so many
	if s.fixed || s.want.room || s.seq < s.want.roomAfter || !s.slots.cramped(s.tuning.growSlots/2) ||
		s.mayGrow() <= s.tuning.growSlots/worth {
		return
	}
	s.want.room = true
	s.background.pokeTend()
}

// makeRoom does what keepRoom asked for. Where the disk is full it is left alone for a while.
func (s *Store) makeRoom() {
	const pause = 1 << 16 // records
	s.mu.Lock()
	most := s.mayGrow()
	s.mu.Unlock()
	var err error
	grown := s.grow(most, &err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want.room = false; !grown {
		s.want.roomAfter = s.seq + pause
	}
}

// grow extends the data area by a step, at most by so many slots, and reports whether it could.
func (s *Store) grow(most uint64, err *error) bool {
	s.mu.Lock()
	total := s.slots.usage().total
	s.mu.Unlock()
	if s.fixed || total >= maxSlots {
		return false
	}
	least := s.tuning.growSlots/16 + 1
	for step := min(s.growStep(total), max(most, least)); step >= least; step /= 2 {
		if rest := (total + step) % segmentSlots; rest < step {
			step -= rest // a segment cut in two would be filled in two goes
		}
		if *err = s.data.Allocate(int64(total)*blockSize, int64(step)*blockSize); *err == nil {
			s.mu.Lock()
			s.extend(total + step)
			s.mu.Unlock()
			return true
		}
	}
	return false
}

// growStep returns by how much a data area of so many slots grows at a time: large ones by more, so
// that the file system can keep it in few pieces, but not so much that other work waits for long.
func (s *Store) growStep(total uint64) uint64 {
	return min(max(s.tuning.growSlots, total/16), 4*s.tuning.growSlots)
}

// flushForSpace runs a flush round and reports whether it freed anything.
func (s *Store) flushForSpace() bool {
	s.mu.Lock()
	before := s.limbo.left
	s.flush.wanted = true
	s.mu.Unlock()
	if s.background.manual {
		s.flushOnce()
	} else if err := s.Sync(); err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limbo.left > before // others may have given up as much meanwhile
}

// outOfSpace fails the requests that wait for space.
func (s *Store) outOfSpace(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want.space = false
	if err != ErrNoSpace { // the data area is full, and it cannot grow
		s.background.report(faultSpace, err)
	}
	for _, l := range s.lanes {
		l.post(func(m *mail) { m.full = true })
	}
}
