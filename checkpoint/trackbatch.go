package checkpoint

import (
	"errors"
	"fmt"
)

// Next takes up to max bytes, at least a block, of what changed: of the oldest epoch of which
// something is left. It returns nil if there is nothing; Ready tells when to ask again. An ended
// epoch of which nothing is left yields one empty batch that is Done. An error stays.
func (t *Tracker) Next(max int64) (*Batch, error) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(t.failed, s.poisoned()); err != nil {
		return nil, err
	}
	if t.closed || len(t.ended) == 0 && t.open.n == 0 {
		t.idle = true
		return nil, nil
	}
	b := &Batch{t: t, Epoch: t.number}
	blocks := uint64(max+blockSize-1) / blockSize
	var err error
	if len(t.ended) == 0 {
		b.Changes, err = t.take(&t.open, &t.cursor, nil, blocks)
	} else {
		b.of = t.ended[0]
		b.Epoch = b.of.number
		b.Changes, err = t.take(&b.of.left, &b.of.cursor, b.of.late, blocks)
	}
	for i := range b.Changes {
		if err == nil {
			err = s.sumChange(&b.Changes[i])
		}
	}
	if err != nil {
		t.failed = err // what was taken is lost: no epoch is whole any more
		return nil, err
	}
	t.pin(b)
	return b, nil
}

// pin keeps what a batch names from being reused, and ends an epoch of which all was taken.
func (t *Tracker) pin(b *Batch) {
	q := b.of
	if q == nil {
		b.gen = t.s.limbo.enter()
		return
	}
	q.pins++
	if q.left.n > 0 {
		return
	}
	b.Done = true
	t.ended = append(t.ended[:0], t.ended[1:]...)
	if len(t.open.spare) == 0 {
		t.open.spare, q.left.spare = q.left.spare, nil
	}
	t.unpin(q)
}

// unpin takes a user off an ended epoch.
func (t *Tracker) unpin(q *endedEpoch) {
	if q.pins--; q.pins == 0 {
		t.s.limbo.leave(q.gen)
	}
}

// take removes up to so many blocks from a set, going on at the cursor and around, and returns what
// they are.
func (t *Tracker) take(set *blockSet, cursor *block, late map[block]slot, blocks uint64) ([]Change, error) {
	var taken []Change
	for blocks = max(blocks, 1); blocks > 0 && set.n > 0; {
		b, n := set.next(*cursor, blocks)
		if n == 0 {
			*cursor = 0
			continue
		}
		at, n, err := t.find(b, n, late)
		if err != nil {
			return nil, err
		}
		set.remove(b, n)
		blocks -= n
		*cursor = b + block(n)
		taken = t.appendChange(taken, b, n, at)
	}
	return taken, nil
}

// find returns where the first of n blocks from b lie side by side, and how many of them do.
func (t *Tracker) find(b block, n uint64, late map[block]slot) (slot, uint64, error) {
	if len(late) > 0 {
		if at, ok := late[b]; ok {
			return at, 1, nil
		}
		for k := uint64(1); k < n; k++ {
			if _, ok := late[b+block(k)]; ok {
				n = k
			}
		}
	}
	if err := t.s.blocks.ensure(b, n); err != nil {
		return 0, 0, err
	}
	e, n := t.s.blocks.run(b, n)
	return e.slot(), n, nil
}

// appendChange appends blocks that lie in a slot and those behind it, joined with the last change
// where they continue it.
func (t *Tracker) appendChange(taken []Change, b block, n uint64, at slot) []Change {
	off := int64(b) * blockSize
	c := Change{Off: off, Len: min(int64(n)*blockSize, t.s.size-off), Place: -1}
	switch at = t.s.shows(at); {
	case c.Len <= 0:
		return taken
	case at < slotNone:
		c.Place = int64(at) * blockSize
	case at == slotZero:
		c.Zero = true
	}
	if k := len(taken) - 1; k >= 0 && taken[k].continues(c) {
		taken[k].Len += c.Len
		return taken
	}
	return append(taken, c)
}

// addAll puts ranges into the open epoch. The mutex is held.
func (t *Tracker) addAll(cs []Change) {
	for _, c := range cs {
		t.open.add(block(c.Off/blockSize), uint64(c.Len+blockSize-1)/blockSize)
	}
}

func (c Change) continues(d Change) bool {
	if c.Off+c.Len != d.Off || c.Zero != d.Zero {
		return false
	}
	return c.Place < 0 && d.Place < 0 || c.Place >= 0 && c.Place+c.Len == d.Place
}

// ReadAt reads len(p) bytes from byte off of the disk on, which lie within one of the batch's
// changes, and judges them by their checksums if the volume has some. Who can move data without a copy
// takes it from the store's DataReader at the change's place instead.
func (b *Batch) ReadAt(p []byte, off int64) error {
	for _, c := range b.Changes {
		if off < c.Off || off >= c.Off+c.Len {
			continue
		}
		if int64(len(p)) > c.Off+c.Len-off {
			return fmt.Errorf("%d bytes from byte %d: the change ends at %d", len(p), off, c.Off+c.Len)
		}
		return b.t.s.readChange(p, c, off)
	}
	return fmt.Errorf("byte %d is in none of the batch's changes", off)
}

// Verify reads so many bytes from byte off of the disk on as far as the batch has them, and compares them
// with their checksums. The error names the first block that is damaged.
func (b *Batch) Verify(off, n int64) error {
	buf := alignedBytes(blockSize)
	for _, c := range b.Changes {
		from, to := max(off, c.Off)&^(blockSize-1), min(off+n, c.Off+c.Len)
		for at := from; at < to && c.Place >= 0; at += blockSize {
			if err := b.t.s.readChange(buf[:min(blockSize, to-at)], c, at); err != nil {
				return fmt.Errorf("the block at byte %d of the disk: %w", at, err)
			}
		}
	}
	return nil
}

func (s *Store) readChange(p []byte, c Change, off int64) error {
	switch {
	case c.Place >= 0:
		at := c.Place + off - c.Off
		return s.readSlots(p, slot(at/blockSize), at%blockSize)
	case c.Zero || s.base == nil:
		clear(p)
		return nil
	}
	_, err := s.base.ReadAt(p, off)
	return err
}

// Release says that the batch was read. It must not be read any more.
func (b *Batch) Release() {
	s := b.t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	b.release()
	s.limbo.collect(s.release)
}

func (b *Batch) release() {
	if b.freed {
		return
	}
	b.freed = true
	if b.of != nil {
		b.t.unpin(b.of)
		return
	}
	b.t.s.limbo.leave(b.gen)
}

// Return releases the batch and has its ranges taken again: it could not be sent. They count as
// changed in the open epoch, as they are then.
func (b *Batch) Return() {
	s := b.t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	b.t.addAll(b.Changes)
	b.release()
	b.t.wake()
	s.limbo.collect(s.release)
}
