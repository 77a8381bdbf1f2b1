package checkpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// RollbackResult says what a rollback did.
type RollbackResult struct {
	To     Point  `json:"to"`
	Left   Point  `json:"left"`   // the state that was left; a rollback to it undoes this one
	Line   uint32 `json:"line"`   // the new one
	Blocks uint64 `json:"blocks"` // that changed
}

// Rollback makes the state at a point the current one. The state it leaves, and the points newer
// than the one returned to, stay as a branch. The work is proportional to what was written since.
//
// No front end may be connected: a guest that merely paused would find an old disk under its
// memory. The caller sees to that.
func (s *Store) Rollback(ctx context.Context, id uint32) (RollbackResult, error) {
	began := probe.Now()
	s.admin.Lock()
	defer s.admin.Unlock()
	if err := ctx.Err(); err != nil {
		return RollbackResult{}, err
	}
	if err := s.catchUp(); err != nil {
		return RollbackResult{}, err
	}
	var res RollbackResult
	err := s.withRoom(func() (err error) {
		res, err = s.rollbackTo(epoch(id))
		return err
	})
	if err != nil {
		return res, err
	}
	err = s.Sync()
	s.tell(probe.Rollback, id, began, err)
	return res, err
}

// withRoom makes a change to history; if the journal is full, after a snapshot. The admin lock is
// held.
func (s *Store) withRoom(change func() error) error {
	err := change()
	if err != errJournalFull {
		return err
	}
	if err := s.snapshot(); err != nil {
		return err
	}
	return change()
}

// Undo returns to the state that the newest rollback left.
func (s *Store) Undo(ctx context.Context) (RollbackResult, error) {
	s.mu.Lock()
	var left *point
	for _, p := range s.points {
		if p.left {
			left = p
		}
	}
	s.mu.Unlock()
	if left == nil {
		return RollbackResult{}, fmt.Errorf("%w: no rollback to undo", ErrNoPoint)
	}
	return s.Rollback(ctx, uint32(left.id))
}

// rollbackTo does it. The admin lock is held, so that the records it reads stay where they are.
func (s *Store) rollbackTo(id epoch) (RollbackResult, error) {
	records, seen, err := s.findRollback(id)
	if err != nil {
		return RollbackResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.mayRollBack(id)
	if err == nil && s.seq != seen { // somebody wrote meanwhile
		records, err = holding(id, s.behind(p), s.pages)
	}
	if err != nil {
		return RollbackResult{}, err
	}
	if err := s.ensureRollback(p, records); err != nil {
		return RollbackResult{}, err
	}
	left := &point{time: time.Now()}
	r := rollbackRecord{to: id, left: s.epoch, time: left.time.UnixNano(), line: s.nextLine()}
	apply := func() { s.rollback(p, records, left) }
	if err := s.enter(recordRollback, rollbackLen, r.encode, apply); err != nil {
		return RollbackResult{}, err
	}
	s.diskSize.Store(s.size)
	res := RollbackResult{To: p.public(), Left: left.public(), Line: uint32(s.line)}
	for _, d := range records {
		res.Blocks += uint64(d.n)
	}
	return res, nil
}

// mayRollBack returns the point with a number, if one can return to it. The store's mutex is held.
func (s *Store) mayRollBack(id epoch) (*point, error) {
	if err := s.changeable(); err != nil {
		return nil, err
	}
	if s.tracker != nil {
		return nil, fmt.Errorf("rollback: %w", ErrMirrored)
	}
	p, err := s.point(id)
	if err == nil && (s.epoch >= maxEpoch-1 || len(s.points) >= maxPoints) {
		err = fmt.Errorf("another branch: %w", ErrTooMany)
	}
	return p, err
}

// findRollback finds what a rollback changes, as of the last record, and has the pages of the map
// read that it needs. The store's mutex is not held meanwhile.
func (s *Store) findRollback(id epoch) ([]death, sequence, error) {
	s.mu.Lock()
	var runs []stored
	p, err := s.mayRollBack(id)
	if err == nil {
		runs = s.behind(p)
	}
	seen := s.seq
	s.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	records, err := holding(id, runs, s.pages)
	if err != nil {
		return nil, 0, err
	}
	var leaves, counts []uint64
	for _, d := range records {
		for i := uint64(d.block) / leafBlocks; i <= (uint64(d.block)+uint64(d.n)-1)/leafBlocks; i++ {
			leaves = append(leaves, i)
		}
		if d.slot < slotNone {
			counts = append(counts, uint64(d.slot)/groupSlots)
		}
	}
	s.blocks.readAhead(leaves, &s.mu)
	s.slots.readAhead(counts, &s.mu)
	return records, seen, nil
}

// takeover makes this process the only one that may go on from here: the generation is raised,
// durably, and the state is that of the last retired point, which is the one whose memory the
// other machine holds. What came after stays as a branch.
func (s *Store) takeover() error {
	s.admin.Lock()
	next := s.super
	next.generation++
	var err error
	to := s.lastRetired()
	if to == nil {
		err = fmt.Errorf("%w was ever retired: nothing to take over from", ErrNoPoint)
	} else {
		err = s.writeSuper(next)
	}
	s.admin.Unlock()
	if err != nil {
		return err
	}
	_, err = s.Rollback(context.Background(), uint32(to.id))
	return err
}

// lastRetired returns the newest retired point on the way to the current state.
func (s *Store) lastRetired() *point {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *point
	for _, p := range s.ancestors() {
		if p.retired && !p.temp {
			last = p
		}
	}
	return last
}

// Resize changes the length of the disk. Shrinking it needs force; what is cut off stays in the
// points that have it.
func (s *Store) Resize(ctx context.Context, size int64, force bool) error {
	if err := checkSize(size); err != nil {
		return err
	}
	if err := s.unmirrored("resize"); err != nil {
		return err
	}
	now := s.Size()
	if size < now && !force {
		return fmt.Errorf("%w from %d to %d bytes; what is beyond would be lost: --force", ErrShrink, now, size)
	}
	if end := min(now, (size+blockSize-1)/blockSize*blockSize); size < end {
		if err := s.Zero(size, end-size); err != nil { // the rest of the last block
			return err
		}
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.withRoom(func() error { return s.resizeTo(size) }); err != nil {
		return err
	}
	return s.Sync()
}

// resizeTo does it. The admin lock is held.
func (s *Store) resizeTo(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return err
	}
	if err := s.ensureResize(size); err != nil {
		return err
	}
	put := func(p []byte) { putWord(p, uint64(size)) }
	return s.enter(recordResize, wordLen, put, func() {
		s.resize(size)
		s.diskSize.Store(size)
	})
}
