package checkpoint

import (
	"cmp"
	"context"
	"slices"
)

// changedStep is how many ranges are looked up in the map with the store's mutex held.
const changedStep = 64

// Changed calls fn for every range of the disk that shows something else now than at a point, in
// ascending order: off and n are in bytes, multiples of 4096 but at the disk's end. Where zero is
// set it reads as zeroes now. The work is proportional to what was written since.
//
// Now is some moment during the call. Who has to know of changes meanwhile tracks the store before
// he asks. An error of fn ends it and is returned; ErrNoPoint if there is no such point.
func (s *Store) Changed(ctx context.Context, since uint32, fn func(off, n int64, zero bool) error) error {
	records, err := s.changedSince(ctx, epoch(since))
	if err != nil {
		return err
	}
	for step := range slices.Chunk(records, changedStep) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var found []mapped
		s.mu.Lock()
		for _, d := range step {
			if found, err = s.differing(found, d); err != nil {
				break
			}
		}
		s.mu.Unlock()
		if err := passOn(found, err, fn); err != nil {
			return err
		}
	}
	return nil
}

// changedSince returns the death records of blocks that were changed since a point, by block. Until
// the admin lock is given up nobody takes away the pages that they lie in.
func (s *Store) changedSince(ctx context.Context, since epoch) ([]death, error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.catchUp(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	var runs []stored
	p, err := s.point(since)
	if err == nil {
		runs = s.behind(p)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	records, err := holding(since, runs, s.pages)
	slices.SortFunc(records, func(a, b death) int { return cmp.Compare(a.block, b.block) })
	return records, err
}

// mapped is a range of the disk and what the map says of it.
type mapped struct {
	off, n int64 // bytes
	zero   bool
}

// differing appends what of a death record's blocks is not what it was. The mutex is held.
func (s *Store) differing(found []mapped, d death) ([]mapped, error) {
	if err := s.blocks.ensure(d.block, uint64(d.n)); err != nil {
		return found, err
	}
	for at := uint64(0); at < uint64(d.n); {
		b := d.block + block(at)
		e, n := s.blocks.run(b, uint64(d.n)-at)
		was := d.slot
		if was < slotNone {
			was += slot(at)
		}
		if s.shows(e.slot()) != s.shows(was) {
			found = s.appendMapped(found, b, n, e)
		}
		at += n
	}
	return found, nil
}

// shows returns the slot itself, or the same for all that read as zeroes.
func (s *Store) shows(at slot) slot {
	if at == slotNone && s.state.base {
		return slotNone
	}
	if at >= slotNone {
		return slotZero
	}
	return at
}

// appendMapped appends blocks, as far as they lie on the disk, joined with the last where they
// continue it. The mutex is held.
func (s *Store) appendMapped(found []mapped, b block, n uint64, e entry) []mapped {
	off := int64(b) * blockSize
	m := mapped{off, min(int64(n)*blockSize, s.size-off), s.shows(e.slot()) == slotZero}
	if m.n <= 0 {
		return found
	}
	if k := len(found) - 1; k >= 0 && found[k].off+found[k].n == off && found[k].zero == m.zero {
		found[k].n += m.n
		return found
	}
	return append(found, m)
}

// passOn passes ranges on, unless finding them failed.
func passOn(found []mapped, err error, fn func(off, n int64, zero bool) error) error {
	for _, m := range found {
		if err != nil {
			break
		}
		err = fn(m.off, m.n, m.zero)
	}
	return err
}

// Allocated calls fn for every range that a full copy of the disk must bring, given that it begins
// with what a new volume on the same base image shows: data, and zeroes that hide the base. The
// rest is as in Changed.
func (s *Store) Allocated(ctx context.Context, fn func(off, n int64, zero bool) error) error {
	for at := block(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var found []mapped
		var err error
		s.mu.Lock()
		end := block(s.diskBlocks())
		for range changedStep {
			b, e, n, failed := s.blocks.next(at, end)
			if err = failed; err != nil || n == 0 {
				at = end
				break
			}
			at = b + block(n)
			if e.placed() || s.state.base && e.slot() == slotZero {
				found = s.appendMapped(found, b, n, e)
			}
		}
		s.mu.Unlock()
		if err := passOn(found, err, fn); err != nil || at >= end {
			return err
		}
	}
}
