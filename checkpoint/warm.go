package checkpoint

// After a start of the machine nothing is in the page cache. A write that is the first to touch a
// page of the journal, or a request whose part of the map is not in memory, would wait for the disk
// with the store's mutex held. So both files are read into the cache, in order and with nobody
// waiting, before that is likely.

// warming is how far that went. It belongs to whoever does background work.
type warming struct {
	from           int64 // byte of the journal's area where it began: its tail
	journal, pages int64 // bytes that were read
}

const (
	warmStep = 4 << 20 // bytes at a time
	warmMost = 1 << 30 // of each file: larger ones are likely to push out what matters more
)

// warmOnce does a step and reports whether there was one.
func (s *Store) warmOnce() bool {
	journal, ok := s.files.journal.(aheader)
	pages, too := s.files.pages.(aheader)
	if !ok || !too || s.opts.ReadOnly {
		return false
	}
	area := int64(s.journal.room())
	w := &s.warmed
	nearby := w.journal >= warmStep // what is written next comes first, then the map
	switch {
	case nearby && w.pages < min(int64(s.pages.length())*pageSize, warmMost):
		pages.ReadAhead(w.pages, warmStep)
		w.pages += warmStep
	case w.journal < min(area, warmMost):
		if w.journal == 0 {
			s.mu.Lock()
			w.from = int64(uint64(s.journal.tail()) % s.journal.room())
			s.mu.Unlock()
		}
		at := (w.from + w.journal) % area
		n := min(warmStep, area-at)
		journal.ReadAhead(journalArea+at, n)
		w.journal += n
	default:
		return false
	}
	return true
}
