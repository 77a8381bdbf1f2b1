package checkpoint

// Slots that the guest discarded, and those beyond the slack, are given back to the file system:
// their hole is punched first, and only then are they free again. Until the punch is done they
// are in neither limbo nor the free slots, so that no write can run into it.

// trims holds slots that wait for their hole. The store's mutex guards it.
type trims struct {
	slots []extent
	n     uint64
}

// punchBytes bounds one punch, so that the file system is not held for long.
const punchBytes = 64 << 20

// release takes what leaves limbo: to the free slots, or to be punched first. The store's mutex
// is held.
func (s *Store) release(x givenUp) {
	if !x.discarded || s.opts.KeepHoles {
		s.slots.release(x.extent)
		return
	}
	s.trims.slots = append(s.trims.slots, x.extent)
	s.trims.n += x.n
	s.background.pokeTend()
}

// hole is one punch.
type hole struct{ extent }

// trimOrder is the procedure of a punch. Its rows are those of docs/ORDERING.md.
var trimOrder = []step[hole]{
	{"punch the hole", (*Store).punch},
	{"free the slots", (*Store).freeHole},
}

func (s *Store) punch(h *hole) error {
	s.stats.punched.Add(h.n * blockSize)
	return s.data.Punch(int64(h.first)*blockSize, int64(h.n)*blockSize)
}

func (s *Store) freeHole(h *hole) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.releaseCold(h.extent)
	return nil
}

// trimOnce punches one of the holes that wait.
func (s *Store) trimOnce() {
	s.mu.Lock()
	k := len(s.trims.slots) - 1
	if k < 0 {
		s.mu.Unlock()
		return
	}
	x := s.trims.slots[k]
	if x.n > punchBytes/blockSize {
		s.trims.slots[k] = extent{x.first, x.n - punchBytes/blockSize}
		x = extent{x.first + slot(s.trims.slots[k].n), punchBytes / blockSize}
	} else {
		s.trims.slots = s.trims.slots[:k]
	}
	s.trims.n -= x.n
	s.mu.Unlock()
	s.giveToDisk(x)
}

// giveToDisk punches a hole and reports whether it could.
func (s *Store) giveToDisk(x extent) bool {
	err := perform(s, trimOrder, &hole{x})
	s.background.report(faultPunch, err)
	if err != nil {
		s.mu.Lock()
		s.slots.release(x) // no hole, but free all the same
		s.mu.Unlock()
	}
	return err == nil
}

// excess returns how many slots are beyond the slack and a step of growth. The store's mutex is held.
func (s *Store) excess() uint64 {
	u := s.slots.usage()
	bound := u.cold + u.referenced + s.slack() + s.tuning.growSlots + s.recurring
	if s.fixed || u.total < bound {
		return 0
	}
	return u.total - bound
}

// recur notes what a point kept that a retire is about to release. Where points come and go like
// this, the next will keep about as much: to give the space back in between would have every write
// after a checkpoint wait for the file system to find it anew. The store's mutex is held.
func (s *Store) recur(p *point) {
	s.recurring = max(p.blocks(), s.recurring-s.recurring/8)
}

// endRecurrence forgets it when the last point of that sort was deleted.
func (s *Store) endRecurrence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.points {
		if p.retired && !p.keep {
			return
		}
	}
	s.recurring = 0
}

// trimSlack gives back what is beyond the slack and reports whether it did. While requests come in
// only whole segments are worth it: every punch has the file system stop all I/O to the data area,
// and small holes cut its extents to pieces. The rest waits until nothing was written for a while.
func (s *Store) trimSlack() bool {
	s.mu.Lock()
	n := min(s.excess(), punchBytes/blockSize)
	quiet := s.seq == s.quietAt
	s.quietAt = s.seq
	take := s.slots.takeWhole
	if quiet {
		take = s.slots.takeWarm
	}
	x := take(n)
	s.mu.Unlock()
	if x.n > 0 {
		return s.giveToDisk(x)
	}
	if n > 0 && !quiet {
		s.background.linger()
	}
	return false
}
