package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// LoadResult says what a load did.
type LoadResult struct {
	Point   Point  `json:"point"`   // the new state
	Loaded  uint64 `json:"loaded"`  // blocks that the stage had
	Dropped uint64 `json:"dropped"` // blocks that were changed since the base, and are not so any more
}

// Load makes what is staged the state of the disk, on top of the state at a point, and puts a
// retired point there, with a name or without. What was done to the disk since that point, which is
// the newest one of the line, is dropped for good. After a crash the load is there as a whole or not
// at all, and until Sync returns it may be the latter; but not before it is there is the base
// released, as by a retire.
//
// Front ends may be connected, but no request is under way: the caller has stopped the rings. If it
// fails the disk is as it was, and so is the stage, unless the error is ErrPoisoned.
//
// It does metadata only: its time goes with the blocks staged and dropped, and not with the disk.
func (s *Store) Load(ctx context.Context, st *Stage, base uint32, name string) (LoadResult, error) {
	if err := st.Seal(); err != nil {
		return LoadResult{}, err
	}
	l := loading{stage: st, base: epoch(base)}
	l.made = &point{name: name, retired: true, time: time.Now()}
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return LoadResult{}, err
		}
		err := s.loadStage(&l)
		if err == nil || try == 3 {
			return l.result, err
		}
		if err := s.loadHelp(err); err != nil {
			return LoadResult{}, err
		}
	}
}

// loadHelp does something about what is against a load, or returns it.
func (s *Store) loadHelp(err error) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	switch {
	case err == errOwing:
		return s.catchUp()
	case err == errJournalFull:
		return s.snapshot()
	case errors.Is(err, errCounts): // by what only waits to be swept, perhaps
		return s.sweepNow()
	}
	return err
}

// errOwing says that replay left something to be made up for.
var errOwing = errors.New("the map is not up to date")

// loading is a load under way.
type loading struct {
	stage   *Stage
	base    epoch
	made    *point
	records []death // of blocks changed since the base
	first   sequence
	result  LoadResult
}

// loadOrder is the procedure of a load, once everything is in memory that it touches. The store's
// mutex is held throughout. Its rows are those of docs/ORDERING.md.
var loadOrder = []step[loading]{
	{"enter what is staged", (*Store).enterStaged},
	{"enter the load", (*Store).enterLoad},
	{"release what came before", (*Store).releaseLoaded},
}

// loadStage does it. It does not take the admin lock, for which it might have to wait as long as a
// snapshot takes: the records that it reads are in memory, but for those of an epoch in which there
// was a snapshot, and while the mutex is held nobody gives up the pages in which they lie.
func (s *Store) loadStage(l *loading) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	base, err := s.mayLoad(l)
	if err != nil {
		return err
	}
	if s.owed.leaves > 0 || s.skipped {
		return errOwing
	}
	if l.records, err = holding(l.base, s.behind(base), s.pages); err != nil {
		return err
	}
	e := &l.stage.entries
	if err := s.ensureLoad(base, l.records, e.places); err != nil {
		return err
	}
	if !s.journal.fits(e.cost()) {
		return errJournalFull
	}
	return perform(s, loadOrder, l)
}

// mayLoad returns the base, or what is against a load. The mutex is held.
func (s *Store) mayLoad(l *loading) (*point, error) {
	if err := s.changeable(); err != nil {
		return nil, err
	}
	base, err := s.point(l.base)
	if err != nil {
		return nil, err
	}
	switch newest := s.newestOwn(); {
	case l.stage.s != s || l.stage.over:
		return nil, fmt.Errorf("loading: %w", errStageOver)
	case s.tracker != nil:
		return nil, fmt.Errorf("loading: %w", ErrMirrored)
	case base != newest || base.line != s.line:
		return nil, fmt.Errorf("%w: %d is not the newest checkpoint of the line", ErrNoPoint, l.base)
	case base.size != s.size || l.stage.size != s.size:
		return nil, fmt.Errorf("loading: the disk has %d bytes, checkpoint %d has %d, the stage was made for %d",
			s.size, base.id, base.size, l.stage.size)
	}
	l.made.id = s.epoch
	return base, s.mayStart(l.made)
}

// newestOwn returns the newest point that does not belong to a process; nil if there is none.
func (s *state) newestOwn() *point {
	for i := len(s.points) - 1; i >= 0; i-- {
		if !s.points[i].temp {
			return s.points[i]
		}
	}
	return nil
}

// enterStaged says in the journal where the stage lies. Nothing of it counts yet.
func (s *Store) enterStaged(l *loading) error {
	l.first = s.seq + 1
	for places, sums := l.stage.entries.places, l.stage.entries.sums; len(places) > 0; {
		n, k, err := s.enterPlaces(recordStage, places, sums)
		if err != nil {
			return err
		}
		places, sums = places[n:], sums[k:]
	}
	return nil
}

// enterLoad makes it count, and the state what it says.
func (s *Store) enterLoad(l *loading) error {
	r := loadRecord{base: l.base, first: l.first, start: startRecord{
		id: s.epoch, flags: l.made.flags(), time: l.made.time.UnixNano(), name: l.made.name}}
	for _, p := range l.stage.entries.places {
		r.blocks += p.n
	}
	l.result.Dropped = 0
	for _, d := range l.records {
		l.result.Dropped += uint64(d.n)
	}
	err := s.enter(recordLoad, r.encodedLen(), r.encode, func() {
		s.become(l.records, l.stage.entries, l.made)
	})
	if err != nil {
		return err
	}
	l.stage.over, l.stage.held = true, 0
	s.endStage(l.stage)
	l.result.Loaded, l.result.Point = r.blocks, l.made.public()
	s.written += r.blocks
	s.limbo.collect(s.release)
	return nil
}

// releaseLoaded deletes the points that the new one replaces. Where the journal has no room for it
// the next load or retire does it.
func (s *Store) releaseLoaded(l *loading) error {
	for _, q := range s.replaced(l.made) {
		s.recur(q)
		put := func(p []byte) { putWord(p, uint64(q.id)) }
		err := s.enter(recordDelete, wordLen, put, func() { s.remove(q) })
		if err == errJournalFull {
			break
		}
		if err != nil {
			return err
		}
	}
	s.background.pokeTend()
	return nil
}

// replaced returns the retired points before p that nobody asked to keep. The mutex is held.
func (s *Store) replaced(p *point) []*point {
	var all []*point
	for _, q := range s.points {
		if q.id < p.id && q.retired && !q.keep && !q.temp && q.views == 0 && (s.hold == 0 || q.id < s.hold) {
			all = append(all, q)
		}
	}
	return all
}

// HoldFrom keeps points from being released by a retire or load: those with this number and newer
// ones, beside all that are kept anyway. 0 holds none. A pair holds the newest point that both
// sides have for good, so that they can go on from there. It lasts until the store is closed.
func (s *Store) HoldFrom(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = epoch(id)
}

// sweepNow sweeps all that waits for it. The admin lock is held.
func (s *Store) sweepNow() error {
	for {
		s.mu.Lock()
		_, r := s.nextSweep()
		s.mu.Unlock()
		if r == nil {
			return nil
		}
		w, err := s.load(r)
		if err == nil {
			err = s.withRoom(func() error { return s.commitSweep(r, w) })
		}
		if err != nil {
			return err
		}
	}
}

// ensureLoad makes resident all that become will touch.
func (s *state) ensureLoad(base *point, records []death, places []placement) error {
	if err := s.ensureRollback(base, records); err != nil {
		return err
	}
	for _, p := range places {
		if err := s.ensurePlace(p); err != nil {
			return err
		}
	}
	return nil
}

// become makes the state the one at a point, whose records those are, with the blocks of e over it,
// and puts the next point there. What was written since is given up, unless some other point has
// it. Where a block is both, it is put in place once.
func (s *state) become(records []death, e entries, made *point) {
	var set blockSet
	for _, p := range e.places {
		set.add(p.block, p.n)
	}
	for i, d := range records {
		s.touch(records, i)
		set.outside(d.block, uint64(d.n), func(skip, n uint64) {
			at := d.slot
			if at < slotNone {
				at += slot(skip)
				s.slots.retain(extent{at, n})
			}
			s.blocks.replace(d.block+block(skip), n, newEntry(at, s.epoch), s.buried)
		})
	}
	s.write(e.places, e.sums)
	s.start(made)
}
