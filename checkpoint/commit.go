package checkpoint

import "github.com/belay-vm/belay/internal/bio"

// entries collects what a batch writes into its journal records.
type entries struct {
	places []placement
	sums   []uint32
}

// mergedBlocks bounds an entry, so that the checksums of one always fit into a record.
const mergedBlocks = 1024

// add appends a placement, merged with the last where it continues it.
func (e *entries) add(p placement) {
	if k := len(e.places) - 1; k >= 0 && p.slot < slotNone {
		last := &e.places[k]
		beside := last.block+block(last.n) == p.block && last.slot+slot(last.n) == p.slot
		if beside && last.n+p.n <= mergedBlocks {
			last.n += p.n
			return
		}
	}
	e.places = append(e.places, p)
}

// chunk returns how many of the places, and of their checksums, the next record takes.
func chunk(places []placement, sums []uint32) (n, k int) {
	for ; n < len(places); n++ {
		more := 0
		if len(sums) > 0 && places[n].slot < slotNone {
			more = int(places[n].n)
		}
		if n > 0 && writePayload(n+1, k+more) > maxPayload {
			break
		}
		k += more
	}
	return n, k
}

// cost returns how many bytes of the journal the records take.
func (e *entries) cost() int {
	total := 0
	for places, sums := e.places, e.sums; len(places) > 0; {
		n, k := chunk(places, sums)
		total += recordHead + writePayload(n, k)
		places, sums = places[n:], sums[k:]
	}
	return total
}

// bytes returns about how many bytes of the journal the entries take.
func (e *entries) bytes() int { return writePayload(len(e.places), len(e.sums)) }

func (e *entries) reset() { e.places, e.sums = e.places[:0], e.sums[:0] }

// commitAll enters what is in place into journal and map, under one hold of the store's mutex,
// and so draws the batch's place in the order of all writes. When it returns, the records are in
// a shared mapping of the journal: they survive the death of the process.
func (l *lane) commitAll() {
	if l.commit.n == 0 && len(l.leaves) == 0 {
		return
	}
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l.epoch = s.epoch
	for _, gen := range l.leaves {
		s.limbo.leave(gen)
	}
	if len(l.leaves) > 0 {
		s.limbo.collect(s.release)
		l.leaves = l.leaves[:0]
	}
	if l.stalled {
		return // else what must be merged again would be written again and again meanwhile
	}
	ready := l.judge()
	if ready.n == 0 {
		return
	}
	for ready.n > 0 {
		some := l.gather(&ready)
		if err := s.record(&l.entries); err != nil {
			some.append(ready)
			l.stall(some, err)
			return
		}
		for w := some.pop(); w != nil; w = some.pop() {
			if !s.backed(w) {
				s.intents.bare = s.journal.tail()
			}
			l.unbind(w)
			l.quit(w)
			l.advance(w)
		}
	}
	s.limbo.collect(s.release)
	s.watch()
}

// gather takes works that enter the journal together: all, unless they would take so much of it
// that there might never be room for them at once.
func (l *lane) gather(ready *workList) workList {
	var some workList
	most := int(l.s.journal.room() / controlShare)
	for l.entries.reset(); ready.n > 0 && l.entries.bytes() < most; {
		w := ready.pop()
		l.collect(w)
		some.push(w)
	}
	return some
}

// stall keeps works that the journal has no room for until a snapshot has made some; if none could
// be made, because the disk is full or broken, they fail. So they do if the journal has stopped.
func (l *lane) stall(ready workList, why error) {
	s := l.s
	if why == errJournalFull {
		if s.want.failed == nil {
			l.commit, l.stalled = ready, true
			s.wantSnapshot()
			return
		}
		why, s.want.failed = s.want.failed, nil // the next one tries again
	}
	for w := ready.pop(); w != nil; w = ready.pop() {
		l.giveBack(w)
		l.quit(w)
		w.err = why
		l.advance(w)
	}
}

// judge takes the works whose turn it is and keeps those that can be committed: the store is in
// order, the merged blocks are as they were, and all that the commit touches is in memory.
func (l *lane) judge() workList {
	var ready workList
	waiting := l.commit.takeAll()
	for w := waiting.pop(); w != nil; w = waiting.pop() {
		err := l.s.poisoned()
		if err == nil {
			err = l.ensure(w)
		}
		switch {
		case err != nil:
			l.giveBack(w)
			l.quit(w)
			w.err = err
			l.advance(w)
		case !l.current(w) || ready.touches(w):
			l.giveBack(w)
			l.s.stats.remerged.Add(1)
			l.again(w)
		default:
			w.phase = phaseCommit
			ready.push(w)
		}
	}
	return ready
}

// ensure loads whatever the commit of a window touches. The disk may have become shorter since the
// request was admitted.
func (l *lane) ensure(w *work) error {
	if w.end > l.s.size {
		return bio.ErrRange
	}
	for _, p := range w.placed {
		if err := l.s.ensurePlace(p); err != nil {
			return err
		}
	}
	if w.req.Op != bio.Write && w.last > w.first {
		return l.s.ensureOverwrite(w.first, uint64(w.last-w.first))
	}
	return nil
}

// collect adds a window to the record.
func (l *lane) collect(w *work) {
	for _, p := range w.placed {
		l.entries.add(p)
	}
	l.entries.sums = append(l.entries.sums, w.sums...)
	if w.req.Op != bio.Write && w.last > w.first {
		l.entries.add(placement{w.first, slotZero, uint64(w.last - w.first)})
	}
}

// record writes entries to the journal and applies them. It fails, with nothing done, when the
// journal has no room, and when the journal has stopped: a sync may fail at any moment, and the
// store hears of it a little later. The store's mutex is held.
func (s *Store) record(e *entries) error {
	if !s.journal.fits(e.cost()) {
		return errJournalFull
	}
	places, sums := e.places, e.sums
	for len(places) > 0 {
		n, k, err := s.enterPlaces(recordWrite, places, sums)
		if err != nil {
			return err
		}
		if s.tracker != nil {
			s.tracker.note(places[:n])
		}
		s.write(places[:n], sums[:k])
		s.written += uint64(n)
		places, sums = places[n:], sums[k:]
	}
	return nil
}

// enterPlaces writes one record of places, for which the journal has room, and returns how many of
// them it took and how many of their checksums. The store's mutex is held.
func (s *Store) enterPlaces(kind recordKind, places []placement, sums []uint32) (n, k int, err error) {
	n, k = chunk(places, sums)
	payload, err := s.journal.reserve(writePayload(n, k), false)
	if err == errJournalFull {
		invariant("the journal lost room that it had")
	}
	if err != nil {
		return 0, 0, err
	}
	encodeWrite(payload, places[:n], sums[:k])
	s.seq++
	s.journal.seal(kind, s.seq, s.line, s.epoch)
	return n, k, nil
}
