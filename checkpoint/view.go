package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// View reads the state at a point while the store goes on. It keeps the point from being deleted
// until it is closed.
//
// What blocks held at the point that hold something else now is known from the death records since
// (old, sorted); deaths that happen while the view is open are noted in late; every other block is
// as it was. The store's mutex guards it.
type View struct {
	s     *Store
	point *point
	temp  bool // the point was made for this view
	old   []death
	late  map[block]slot
}

// View opens the state at a point; 0 is the state now.
func (s *Store) View(id uint32) (*View, error) {
	if id == 0 && !s.opts.ReadOnly {
		p, err := s.startPoint(&point{temp: true})
		if err != nil {
			return nil, err
		}
		v, err := s.View(p.ID)
		if err != nil {
			return nil, errors.Join(err, s.deleteTemporary(p.ID))
		}
		v.temp = true
		return v, nil
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if err := s.catchUp(); err != nil {
		return nil, err
	}
	v, runs, err := s.openView(epoch(id))
	if err != nil || v.point == nil {
		return v, err
	}
	if v.old, err = holding(v.point.id, runs, s.pages); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	slices.SortFunc(v.old, func(a, b death) int { return cmp.Compare(a.block, b.block) })
	return v, nil
}

// deleteTemporary deletes the point of a view that could not be opened.
func (s *Store) deleteTemporary(id uint32) error {
	s.mu.Lock()
	p, err := s.point(epoch(id))
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.deletePoint(p)
}

// openView registers a view, so that no death is missed, and returns what is to be read for it.
func (s *Store) openView(id epoch) (*View, []stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &View{s: s, late: map[block]slot{}}
	if id == 0 {
		return v, nil, nil // a store that is only read stays as it is
	}
	p, err := s.point(id)
	if err != nil {
		return nil, nil, err
	}
	v.point = p
	p.views++
	s.views = append(s.views, v)
	s.died = s.noteDeath
	return v, s.behind(p), nil
}

// noteDeath tells the open views that blocks are overwritten.
func (s *Store) noteDeath(d death) {
	for _, v := range s.views {
		if !d.holds(v.point.id) {
			continue
		}
		for i := range block(d.n) {
			at := d.slot
			if at < slotNone {
				at += slot(i)
			}
			v.late[d.block+i] = at
		}
	}
}

// Size returns the length of the disk at the point, in bytes.
func (v *View) Size() int64 {
	if v.point != nil {
		return v.point.size
	}
	return v.s.Size()
}

// find returns where the blocks from b on lay: up to n of them, side by side. The store's mutex is
// held.
func (v *View) find(b block, n uint64) (slot, uint64, error) {
	if at, ok := v.late[b]; ok {
		return at, 1, nil
	}
	i, found := slices.BinarySearchFunc(v.old, b, func(d death, b block) int {
		switch {
		case d.block+block(d.n) <= b:
			return -1
		case d.block > b:
			return 1
		}
		return 0
	})
	if found {
		d := v.old[i]
		in := b - d.block
		if d.slot < slotNone {
			return d.slot + slot(in), min(uint64(d.n)-uint64(in), n), nil
		}
		return d.slot, min(uint64(d.n)-uint64(in), n), nil
	}
	if i < len(v.old) {
		n = min(n, uint64(v.old[i].block-b))
	}
	n = v.untilLate(b, n)
	if err := v.s.blocks.ensure(b, n); err != nil {
		return 0, 0, err
	}
	e, n := v.s.blocks.run(b, n)
	return e.slot(), n, nil
}

// untilLate returns how many of the n blocks from b, of which the first is not in late, come before
// the first that is.
func (v *View) untilLate(b block, n uint64) uint64 {
	if len(v.late) == 0 {
		return n
	}
	n = min(n, windowBytes/blockSize)
	for k := uint64(1); k < n; k++ {
		if _, ok := v.late[b+block(k)]; ok {
			return k
		}
	}
	return n
}

// ReadAt reads bytes of the state. Offset and length need no alignment.
func (v *View) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d", off)
	}
	done := 0
	for done < len(p) && off < v.Size() {
		n, err := v.readSome(p[done:min(int64(len(p)), int64(done)+v.Size()-off)], off)
		if err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readSome reads one stretch. The slots are kept from being reused meanwhile.
func (v *View) readSome(p []byte, off int64) (int, error) {
	s := v.s
	b, in := block(off/blockSize), off%blockSize
	s.mu.Lock()
	at, n, err := v.find(b, uint64(in+int64(len(p))+blockSize-1)/blockSize)
	gen := s.limbo.enter()
	s.mu.Unlock()
	defer s.unpin(gen)
	if err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), int64(n)*blockSize-in)]
	switch {
	case at < slotNone:
		return len(p), s.readSlots(p, at, in)
	case at == slotNone && s.base != nil:
		return s.base.ReadAt(p, off)
	}
	clear(p)
	return len(p), nil
}

// unpin ends what entering limbo began, for readers that are no lanes.
func (s *Store) unpin(gen uint64) {
	s.mu.Lock()
	s.limbo.leave(gen)
	s.limbo.collect(s.release)
	s.mu.Unlock()
}

// readSlots reads bytes from byte in of a slot on, and judges them by their checksums.
func (s *Store) readSlots(p []byte, at slot, in int64) error {
	n := (in + int64(len(p)) + blockSize - 1) / blockSize
	buf := alignedBytes(int(n) * blockSize)
	if _, err := s.data.ReadAt(buf, int64(at)*blockSize); err != nil {
		return fmt.Errorf("data at byte %d: %w", int64(at)*blockSize, err)
	}
	if s.sums != nil {
		for i := range slot(n) {
			s.mu.Lock()
			err := s.sums.ensure(at+i, 1)
			var want uint32
			if err == nil {
				want = s.sums.get(at + i)
			}
			s.mu.Unlock()
			if err != nil {
				return err
			}
			if err := checkSum(buf[i*blockSize:][:blockSize], at+i, want); err != nil {
				return err
			}
		}
	}
	copy(p, buf[in:])
	return nil
}

// NextData returns the next stretch at or behind off that may hold something but zeroes: its first
// byte and length; n is 0 if there is none.
func (v *View) NextData(off int64) (at, n int64, err error) {
	s := v.s
	size := v.Size()
	for at = off; at < size; {
		s.mu.Lock()
		b := block(at / blockSize)
		where, k, err := v.find(b, min(uint64((size-1)/blockSize)-uint64(b)+1, windowBytes/blockSize))
		s.mu.Unlock()
		if err != nil {
			return 0, 0, err
		}
		end := min(int64(b+block(k))*blockSize, size)
		if where < slotNone || where == slotNone && s.base.covers(at) {
			return at, end - at, nil
		}
		at = end
	}
	return size, 0, nil
}

// Close ends the view.
func (v *View) Close() error {
	s := v.s
	if v.point == nil {
		return nil
	}
	s.mu.Lock()
	v.point.views--
	if i := slices.Index(s.views, v); i >= 0 {
		s.views = slices.Delete(s.views, i, i+1)
	}
	if len(s.views) == 0 {
		s.died = nil
	}
	s.mu.Unlock()
	if v.temp {
		return s.deletePoint(v.point)
	}
	return nil
}
