package checkpoint

import (
	"errors"
	"slices"
	"sync"
)

// A backlog is what opening leaves for later. The journal of a server that was killed may hold a
// million writes all over a map of which nothing is in memory yet; to apply them, replay would read
// every leaf that they touch before the first request is served. So it only notes them. What is
// owed to a leaf is made up for when the leaf is first loaded, by a request that needs it or by
// background work: nobody sees the leaf before.
//
// What does not need the leaf is done at once: the new slots are counted and their checksums set.
// The old slots die when the leaf's turn comes, behind the point that was the newest when they were
// overwritten. So a slot may be counted for longer than it is used, and never for less.
//
// Order matters to one thing only: runs are numbered as deaths fill them, and sweep records go by
// these numbers. Therefore, once notes were made (state.unordered), replay passes sweep records over
// (state.skipped). The runs wait to be swept as if nobody had done it, and what was freed by it is
// counted once more until then: catching up sweeps them again. For that no record is needed, because
// until a snapshot puts an end to this journal, whoever replays it will do the same.
//
// The store's mutex guards it.
type backlog struct {
	log    table[owed]   // in the order of the journal
	n      uint64        // writes in the log
	last   table[uint32] // by leaf: the last write to it, index + 1 in the log; 0: none
	leaves uint64        // that are owed something
	from   uint64        // nothing is owed to leaves before this one, once all of the log is there
	chain  []uint32      // storage for owedTo
}

// owed is a write to blocks of one leaf.
type owed struct {
	block block
	slot  slot // slotZero: a discard
	n     uint32
	prev  uint32 // the write to the leaf before this one: index + 1 in the log; 0: none
	epoch epoch
	line  line
}

const (
	maxOwed      = 1 << 22 // writes: more are made up for before replay goes on
	maxOwedCount = 64      // lifetimes of a slot that may be counted at a time by then
)

// add notes a write to a leaf.
func (g *backlog) add(leaf uint64, o owed) {
	const step = 1 << 16
	if g.n%step == 0 {
		g.log.grow(g.n + step)
	}
	if leaf >= uint64(len(g.last.rows)) {
		g.last.grow((leaf/step + 1) * step)
	}
	at := &g.last.rows[leaf]
	if *at == 0 {
		g.leaves++
	}
	o.prev = *at
	g.log.rows[g.n] = o
	g.n++
	*at = uint32(g.n)
}

// owes reports whether something is owed to a leaf.
func (g *backlog) owes(leaf uint64) bool {
	return leaf < uint64(len(g.last.rows)) && g.last.rows[leaf] != 0
}

// owedTo returns what is owed to a leaf, as indices in the log, in order. It is valid until the
// next call.
func (g *backlog) owedTo(leaf uint64) []uint32 {
	g.chain = g.chain[:0]
	for at := g.last.rows[leaf]; at != 0; at = g.log.rows[at-1].prev {
		g.chain = append(g.chain, at-1)
	}
	slices.Reverse(g.chain)
	return g.chain
}

// forget notes that a leaf was made up for.
func (g *backlog) forget(leaf uint64) {
	g.last.rows[leaf] = 0
	if g.leaves--; g.leaves == 0 {
		g.close()
	}
}

// next returns up to n leaves that are owed something, in ascending order.
func (g *backlog) next(n int) []uint64 {
	var some []uint64
	for leaf := g.from; leaf < uint64(len(g.last.rows)) && len(some) < n; leaf++ {
		if g.last.rows[leaf] != 0 {
			some = append(some, leaf)
		} else if len(some) == 0 {
			g.from = leaf
		}
	}
	return some
}

func (g *backlog) close() {
	g.log.close()
	g.last.close()
	*g = backlog{}
}

// note takes a write record in during replay.
func (s *state) note(places []placement, sums []uint32) error {
	var x extent // slots that lie side by side
	for _, p := range places {
		if err := s.checkPlace(p); err != nil {
			return err
		}
		if p.slot == slotZero {
			continue
		}
		if x.first+slot(x.n) == p.slot {
			x.n += p.n
			continue
		}
		if err := s.noteSlots(x); err != nil {
			return err
		}
		x = extent{p.slot, p.n}
	}
	if err := s.noteSlots(x); err != nil {
		return err
	}
	for _, p := range places {
		if p.slot != slotZero && len(sums) > 0 {
			s.sums.set(p.slot, sums[:p.n])
			sums = sums[p.n:]
		}
		if err := s.noteBlocks(p); err != nil {
			return err
		}
	}
	s.settle()
	return nil
}

// noteSlots counts slots that were written to.
func (s *state) noteSlots(x extent) error {
	if err := s.ensureSlots(x); err != nil {
		return err
	}
	if s.owed.n >= maxOwed || !s.slots.below(x, maxOwedCount) {
		if err := s.catchUp(); err != nil {
			return err
		}
	}
	if !s.slots.below(x, maxOwedCount) {
		if err := s.sweepAll(); err != nil {
			return err
		}
	}
	s.slots.retain(x)
	return nil
}

// orSweep tries again during replay, after sweeps that it passed over, what found a slot counted too
// often. (When it was done live, they had been done.)
func (s *state) orSweep(ensure func() error) error {
	err := ensure()
	if !s.unordered || !errors.Is(err, errCounts) {
		return err
	}
	if err := s.sweepAll(); err != nil {
		return err
	}
	return ensure()
}

// sweepAll sweeps every run that waits for it, during replay.
func (s *state) sweepAll() error {
	for {
		owner, r := s.waitingRun()
		if r == nil {
			return nil
		}
		w, err := s.load(r)
		if err == nil {
			err = s.ensureSweep(w)
		}
		if err != nil {
			return err
		}
		s.sweep(owner, r, w)
	}
}

// noteBlocks puts the blocks of a place into the leaves that are in memory, and notes the others.
func (s *state) noteBlocks(p placement) error {
	for p.n > 0 {
		leaf, n := uint64(p.block)/leafBlocks, min(p.n, leafBlocks-uint64(p.block)%leafBlocks)
		here, err := s.here(leaf)
		if err != nil {
			return err
		}
		if here {
			if err := s.ensureOverwrite(p.block, n); err != nil {
				return err
			}
			s.put(p.block, n, p.slot)
		} else {
			s.owed.add(leaf, owed{block: p.block, slot: p.slot, n: uint32(n), epoch: s.epoch, line: s.line})
			s.unordered = true
		}
		p.block, p.n = p.block+block(n), p.n-n
		if p.slot != slotZero {
			p.slot += slot(n)
		}
	}
	return nil
}

// here reports whether a leaf is in memory. Its directory is from then on.
func (s *state) here(leaf uint64) (bool, error) {
	if s.owed.owes(leaf) {
		return false, nil
	}
	if err := s.blocks.ensureDirectory(leaf); err != nil {
		return false, err
	}
	return s.blocks.resident(leaf), nil
}

// arrived makes up for what is owed to a leaf that was just loaded. After an error nothing was
// done, and the leaf must not be used.
func (s *state) arrived(leaf uint64) error {
	if !s.owed.owes(leaf) {
		return nil
	}
	chain := s.owed.owedTo(leaf)
	for _, i := range chain {
		o := &s.owed.log.rows[i]
		if err := s.ensureOverwrite(o.block, uint64(o.n)); err != nil {
			return err
		}
	}
	e, l := s.epoch, s.line
	for _, i := range chain {
		o := &s.owed.log.rows[i]
		s.epoch, s.line = o.epoch, o.line
		s.put(o.block, uint64(o.n), o.slot)
		s.settle()
	}
	s.epoch, s.line = e, l
	s.owed.forget(leaf)
	return nil
}

// catchUp makes up for everything, during replay.
func (s *state) catchUp() error {
	for s.owed.leaves > 0 {
		some := s.owed.next(catchUpAhead)
		s.readAhead(some, noLock{})
		if err := s.catchUpOn(some); err != nil {
			return err
		}
	}
	return nil
}

// catchUpOn makes up for what is owed to some leaves.
func (s *state) catchUpOn(leaves []uint64) error {
	for _, leaf := range leaves {
		if err := s.blocks.ensureLeaves(leaf, leaf); err != nil {
			return err
		}
	}
	return nil
}

// readAhead reads the leaves, and the counts that are likely to be needed then: of the slots that
// were overwritten, which nobody knows yet. Where writes are many they are all over the data area.
func (s *state) readAhead(leaves []uint64, mu sync.Locker) {
	mu.Lock()
	var counts []uint64
	if n := s.slots.pages(); n < s.owed.n {
		counts = s.slots.storedLeaves()
	}
	mu.Unlock()
	s.blocks.readAhead(leaves, mu)
	s.slots.readAhead(counts, mu)
}

const (
	catchUpAhead = 1 << 12 // leaves read ahead at a time
	catchUpStep  = 64      // leaves made up for with the store's mutex held
)

// catchUp makes up for everything that replay left, in steps between which requests are served. The
// admin lock is held.
func (s *Store) catchUp() error {
	for {
		s.mu.Lock()
		some := s.owed.next(catchUpAhead)
		s.mu.Unlock()
		if len(some) == 0 {
			return s.sweepSkipped()
		}
		s.readAhead(some, &s.mu)
		for step := range slices.Chunk(some, catchUpStep) {
			s.mu.Lock()
			err := s.catchUpOn(step)
			s.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// sweepSkipped sweeps what waits for it, if replay passed over sweeps.
func (s *Store) sweepSkipped() error {
	for {
		s.mu.Lock()
		_, r := s.waitingRun()
		s.skipped = s.skipped && r != nil
		skipped := s.skipped
		s.mu.Unlock()
		if !skipped {
			return nil
		}
		w, err := s.load(r)
		if err == nil {
			err = s.sweepAgain(r, w)
		}
		if err != nil {
			return err
		}
	}
}

func (s *Store) sweepAgain(r *run, w swept) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ensureSweep(w); err != nil {
		return err
	}
	owner, _ := s.findRun(r.id)
	s.sweep(owner, r, w)
	return nil
}

// catchUpOnce is catchUp as background work. A snapshot follows: until then no deleted point's
// space comes back. It reports whether it could.
func (s *Store) catchUpOnce() bool {
	s.admin.Lock()
	err := s.catchUp()
	s.admin.Unlock()
	s.background.report(faultDamage, err)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wantSnapshot()
	return true
}

// owing reports whether replay left something to be made up for.
func (s *Store) owing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed.leaves > 0 || s.skipped
}
