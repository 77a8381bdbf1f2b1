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
	s.mu.Lock()
	u := s.slots.usage()
	inBounds := u.total-u.cold < u.referenced+s.slack()
	limbo, trims := s.limbo.blocks, s.trims.n
	s.mu.Unlock()
	var err error
	switch {
	case inBounds && s.grow(&err):
	case limbo > 0 && s.flushForSpace():
	case trims > 0:
		s.trimOnce()
	case !inBounds && s.grow(&err):
	default:
		s.outOfSpace(err)
		return
	}
	s.background.report(faultSpace, nil)
	s.mu.Lock()
	s.want.space = false
	s.wakeLanes()
	s.mu.Unlock()
}

// grow extends the data area by a step and reports whether it could.
func (s *Store) grow(err *error) bool {
	s.mu.Lock()
	total := s.slots.usage().total
	s.mu.Unlock()
	if s.fixed || total >= maxSlots {
		return false
	}
	for step := max(s.tuning.growSlots, total/16); step >= s.tuning.growSlots/16+1; step /= 2 {
		if *err = s.data.Allocate(int64(total)*blockSize, int64(step)*blockSize); *err == nil {
			s.mu.Lock()
			s.extend(total + step)
			s.mu.Unlock()
			return true
		}
	}
	return false
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
	if err != nil {
		s.background.report(faultSpace, err)
	}
	for _, l := range s.lanes {
		l.post(func(m *mail) { m.full = true })
	}
}
