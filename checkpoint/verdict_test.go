package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// judge compares a store that was just opened with a ledger. Everything that was reported up to a
// time must be there: now after the death of the process, l.durable after a power cut.
func (l *ledger) judge(s *Store, upTo int) error {
	if n := s.Size(); n != l.size && n != l.other && (l.turn == nil || n != l.turn.to.size) {
		return fmt.Errorf("the disk has %d bytes; it had %d", n, l.size)
	}
	upTo, before, err := l.prefix(s, upTo)
	if err != nil {
		return err
	}
	if err := l.judgeContent(s, upTo, before); err != nil {
		return err
	}
	return l.judgePoints(s, upTo)
}

// turned reports whether the rollback or load under way is in what a store recovered.
func (l *ledger) turned(s *Store) bool {
	if l.turn == nil {
		return false
	}
	if l.turn.onto != nil {
		return slices.ContainsFunc(s.Points(), func(p Point) bool { return p.ID == l.turn.to.id })
	}
	return uint32(s.line) == l.turn.line
}

func (l *ledger) judgeContent(s *Store, upTo, before int) error {
	if uint32(s.line) != l.line && !l.turned(s) {
		return fmt.Errorf("it is on line %d, was on %d", s.line, l.line)
	}
	seen, err := diskTags(s)
	if err != nil {
		return err
	}
	if l.turned(s) {
		return sameTags(seen, l.turn.to.tags[:len(seen)], "the state rolled back to")
	}
	for i, t := range seen {
		if !l.allowsOf(i, t, upTo, before) {
			return fmt.Errorf("sector %d holds write %d, not one of %v; by %d (durable %d, now %d)",
				i, t, l.sectors[i], upTo, l.durable, l.now)
		}
	}
	return nil
}

// diskTags reads the whole disk.
func diskTags(s *Store) ([]tag, error) {
	p := make([]byte, s.Size())
	if _, err := s.ReadAt(p, 0); err != nil {
		return nil, fmt.Errorf("reading the disk: %w", err)
	}
	return readTags(p)
}

func sameTags(seen, want []tag, what string) error {
	for i := range seen {
		if seen[i] != want[i] {
			return fmt.Errorf("%s: sector %d holds write %d, want %d", what, i, seen[i], want[i])
		}
	}
	return nil
}

// judgePoints verifies which points there are, and what each shows.
func (l *ledger) judgePoints(s *Store, upTo int) error {
	there := map[uint32]Point{}
	for _, p := range s.Points() {
		there[p.ID] = p
		m := l.mark(p.ID)
		if m == nil && l.turned(s) && p.ID == l.turn.makes().id {
			m = l.turn.makes()
		}
		if m == nil {
			return fmt.Errorf("point %d was never made", p.ID)
		}
		if err := m.judge(s, p, upTo); err != nil {
			return fmt.Errorf("point %d: %w", p.ID, err)
		}
	}
	for _, m := range l.marks {
		if _, ok := there[m.id]; !ok && m.gone == 0 && m.at <= upTo {
			return fmt.Errorf("point %d is lost", m.id)
		}
	}
	if l.turned(s) && there[l.turn.makes().id].ID == 0 {
		return fmt.Errorf("the state left has no point %d", l.turn.makes().id)
	}
	if l.turn != nil && !l.turned(s) {
		if m := l.turn.onto; m != nil && m.at <= upTo && there[m.id].ID == 0 {
			return fmt.Errorf("the load is not there, and point %d neither", m.id)
		}
	}
	return nil
}

// judge compares a point with what the store says of it.
func (m *mark) judge(s *Store, p Point, upTo int) error {
	switch {
	case m.lost != 0 && m.lost <= upTo:
		return errors.New("was deleted")
	case m.retired && !p.Retired:
		return errors.New("was retired")
	case p.Retired && !m.retired && !m.doubt:
		return errors.New("was not retired")
	case p.Size != m.size || p.Line != m.line || p.Left != m.left || p.Keep != m.keep:
		return fmt.Errorf("is %+v, was %+v", p, *m)
	}
	return m.show(s)
}

// show compares what a view of the point shows.
func (m *mark) show(s *Store) error {
	seen, err := viewTags(s, m.id)
	if err != nil {
		return err
	}
	if len(seen) != int(m.size/sectorSize) {
		return fmt.Errorf("has %d sectors, had %d bytes", len(seen), m.size)
	}
	return sameTags(seen, m.tags, "view")
}

func viewTags(s *Store, id uint32) ([]tag, error) {
	v, err := s.View(id)
	if err != nil {
		return nil, err
	}
	p := make([]byte, v.Size())
	_, err = v.ReadAt(p, 0)
	if err := errors.Join(err, v.Close()); err != nil {
		return nil, fmt.Errorf("reading the view: %w", err)
	}
	return readTags(p)
}

// successor returns the point that a takeover of what a store recovered must return to; nil if
// there is none.
func (l *ledger) successor(s *Store) *mark {
	there := map[uint32]Point{}
	for _, p := range s.Points() {
		there[p.ID] = p
	}
	m := l.head
	if l.turned(s) {
		m = l.turn.to
	}
	for ; m != nil; m = m.parent {
		if p, ok := there[m.id]; ok && p.Retired {
			return m
		}
	}
	return nil
}

// judgeTakeover verifies what a takeover made of a store.
func judgeTakeover(s *Store, to *mark) error {
	if s.Size() != to.size {
		return fmt.Errorf("takeover of point %d: %d bytes, want %d", to.id, s.Size(), to.size)
	}
	seen, err := diskTags(s)
	if err != nil {
		return err
	}
	return sameTags(seen, to.tags[:len(seen)], fmt.Sprintf("takeover of point %d", to.id))
}

// audit counts again what the store keeps count of. Nothing is in flight.
func audit(s *Store) error {
	total := s.slots.usage().total
	counts := make([]uint8, total)
	err := s.state.names(func(at slot) error {
		if uint64(at) >= total {
			return fmt.Errorf("slot %d of %d is named", at, total)
		}
		counts[at]++
		return nil
	})
	if err != nil {
		return err
	}
	var used, busy uint64
	for i, want := range counts {
		got, err := s.slots.count(slot(i))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("slot %d is counted %d times, named %d times", i, got, want)
		}
		if want > 0 {
			used++
		} else if s.slots.busy.word(slot(i))>>(i%64)&1 != 0 {
			busy++
		}
	}
	held := s.limbo.blocks + s.trims.n + s.intents.ring.n
	for _, l := range s.lanes {
		held += l.free
	}
	for _, st := range s.stages {
		held += st.held
	}
	u := s.slots.usage()
	if u.referenced != used || u.busy != busy || busy != held || u.free != total-used-busy {
		return fmt.Errorf("usage is %+v; %d slots are named, %d busy, %d held back", u, used, busy, held)
	}
	return nil
}

// names calls fn for every slot as often as a lifetime names it.
func (s *state) names(fn func(slot) error) error {
	each := func(at slot, n uint64) error {
		for i := range n {
			if err := fn(at + slot(i)); err != nil {
				return err
			}
		}
		return nil
	}
	for b, end := block(0), block(s.blocks.leaves*leafBlocks); b < end; {
		at, e, n, err := s.blocks.next(b, end)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if e.placed() {
			if err := each(e.slot(), n); err != nil {
				return err
			}
		}
		b = at + block(n)
	}
	var bad error
	for _, r := range s.runs() {
		blocks := uint64(0)
		err := r.stored().read(s.pages, func(d death) {
			blocks += uint64(d.n)
			if d.slot < slotNone && bad == nil {
				bad = each(d.slot, uint64(d.n))
			}
		}, nil)
		if err := errors.Join(err, bad); err != nil {
			return err
		}
		if blocks != r.blocks {
			return fmt.Errorf("run %d has %d blocks and says %d", r.id, blocks, r.blocks)
		}
	}
	return nil
}

// check runs the store's own check.
func check(s *Store) error {
	r, err := s.Check(context.Background(), nil)
	if err == nil && len(r.Faults) > 0 {
		err = fmt.Errorf("check: %v", r.Faults)
	}
	return err
}
