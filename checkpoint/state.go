package checkpoint

import (
	"fmt"
	"slices"
)

// state is everything that the journal determines: a snapshot of it is what a catalog holds, and
// applying the journal's records to a snapshot yields it again. Live commits and replay run the
// same methods (apply.go), so that what is recovered is what was promised.
//
// The store's mutex guards it.
type state struct {
	seq     sequence // of the last record
	epoch   epoch    // the open one; always newest point + 1 or later
	line    line
	size    int64 // bytes of the disk
	base    bool  // blocks never written show a base image
	nextRun uint64

	blocks *blockMap
	slots  *slots
	sums   *sums // nil without payload checksums

	points   []*point // ascending by id
	branches []branch // ascending by id
	orphans  []*run   // runs to sweep that lie behind no point any more

	owed      backlog // what replay left for later
	defers    bool    // replay may leave writes for later
	unordered bool    // it did so since the last snapshot: runs have other numbers than in the journal
	skipped   bool    // and it passed over sweeps

	mem   *arena
	pages *pageFile
	freed func(x extent, discarded bool) // told of slots that nothing refers to; nil during replay
	died  func(death)                    // told of deaths while old states are read; or nil

	discarding bool // what is freed now, the guest discarded
	touched    uint64

	places []placement // storage for decoding write records
	crcs   []uint32

	// Method values, made once: one made per call would be garbage.
	buried  func(b block, n uint64, old entry)
	dropped func(extent)
}

// newest returns the newest point before the open epoch, nil if there is none. (While an old write
// is made up for, that is not the newest of all.)
func (s *state) newest() *point {
	for i := len(s.points) - 1; i >= 0; i-- {
		if p := s.points[i]; p.id < s.epoch {
			return p
		}
	}
	return nil
}

// point finds a point by its number.
func (s *state) point(id epoch) (*point, error) {
	i, ok := slices.BinarySearchFunc(s.points, id, func(p *point, id epoch) int { return int(p.id) - int(id) })
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrNoPoint, id)
	}
	return s.points[i], nil
}

// write applies a write record: the blocks of each place are live in its slots now, or in none.
// ensurePlace must have succeeded for each. sums are those of the slots, in order; nil without
// payload checksums.
func (s *state) write(places []placement, sums []uint32) {
	for _, p := range places {
		if p.slot != slotZero {
			x := extent{p.slot, p.n}
			s.slots.retain(x)
			s.slots.release(x) // counted now; it was held for the write
			if len(sums) > 0 {
				s.sums.set(p.slot, sums[:p.n])
				sums = sums[p.n:]
			}
		}
		s.put(p.block, p.n, p.slot)
	}
	s.settle()
}

// put makes n blocks from b live in the slots from at on, which are counted, or in none.
func (s *state) put(b block, n uint64, at slot) {
	if at == slotZero {
		s.discard(b, n)
		return
	}
	s.blocks.replace(b, n, newEntry(at, s.epoch), s.buried)
}

// settle closes what a record filled up.
func (s *state) settle() {
	if p := s.newest(); p != nil {
		p.settle()
	}
}

// discard makes n blocks from b read as zeroes. Blocks that do already are left alone.
func (s *state) discard(b block, n uint64) {
	s.discarding = true
	for n > 0 {
		e, k := s.blocks.run(b, n)
		if e.placed() || s.base && e.slot() == slotNone {
			gone := newEntry(slotZero, s.epoch)
			if s.newest() == nil && !s.base {
				gone = 0 // nothing remembers what was there: the same as never written
			}
			s.blocks.replace(b, k, gone, s.buried)
		}
		b, n = b+block(k), n-k
	}
	s.discarding = false
}

// bury records what blocks held until now, or gives their slots up when no point wants them.
func (s *state) bury(b block, n uint64, old entry) {
	p := s.newest()
	if p == nil || old.birth() > p.id {
		if old.placed() {
			s.slots.drop(extent{old.slot(), n}, s.dropped)
		}
		return
	}
	if p.id >= s.epoch {
		invariant("a point closes an epoch that is still open")
	}
	d := death{block: b, slot: old.slot(), n: uint32(n), birth: old.birth(), death: s.epoch, line: s.line}
	p.bury(s, d)
	if s.died != nil {
		s.died(d)
	}
}

// drop passes on slots whose count reached zero.
func (s *state) drop(x extent) {
	if s.freed != nil {
		s.freed(x, s.discarding)
	}
}

// ensurePlace makes resident all that writing a place will touch, so that write cannot fail.
func (s *state) ensurePlace(p placement) error {
	if err := s.checkPlace(p); err != nil {
		return err
	}
	if p.slot != slotZero {
		if err := s.ensureSlots(extent{p.slot, p.n}); err != nil {
			return err
		}
	}
	return s.ensureOverwrite(p.block, p.n)
}

// checkPlace judges whether a place lies on the disk and in the data area.
func (s *state) checkPlace(p placement) error {
	if uint64(p.block)+p.n > s.diskBlocks() {
		return corrupt(journalName, 0, "blocks of a write record", uint64(p.block)+p.n, s.diskBlocks())
	}
	if total := s.slots.usage().total; p.slot != slotZero && uint64(p.slot)+p.n > total {
		return corrupt(journalName, 0, "slots of a write record", uint64(p.slot)+p.n, total)
	}
	return nil
}

// ensureSlots makes resident what is known of slots.
func (s *state) ensureSlots(x extent) error {
	if err := s.slots.ensure(x.first, x.n); err != nil || s.sums == nil {
		return err
	}
	return s.sums.ensure(x.first, x.n)
}

// diskBlocks returns the number of blocks of the disk, the last of which may be cut short.
func (s *state) diskBlocks() uint64 { return uint64(s.size+blockSize-1) / blockSize }

// ensureRead makes resident the map of a range and the checksums of what lies there.
func (s *state) ensureRead(b block, n uint64) error {
	if err := s.blocks.ensure(b, n); err != nil || s.sums == nil {
		return err
	}
	for n > 0 {
		e, k := s.blocks.run(b, n)
		if e.placed() {
			if err := s.sums.ensure(e.slot(), k); err != nil {
				return err
			}
		}
		b, n = b+block(k), n-k
	}
	return nil
}

// ensureOverwrite makes resident the map of a range and the counts of what lies there.
func (s *state) ensureOverwrite(b block, n uint64) error {
	if err := s.blocks.ensure(b, n); err != nil {
		return err
	}
	for n > 0 {
		e, k := s.blocks.run(b, n)
		if e.placed() {
			if err := s.slots.ensure(e.slot(), k); err != nil {
				return err
			}
		}
		b, n = b+block(k), n-k
	}
	return nil
}

// start puts a point at the end of the open epoch and opens the next.
func (s *state) start(p *point) {
	p.id, p.line, p.size, p.seq = s.epoch, s.line, s.size, s.seq
	s.points = append(s.points, p)
	s.epoch++
}

// retire makes a point the one that a takeover returns to.
func (s *state) retire(p *point) { p.retired = true }

// remove takes a point out of history. What only it kept is found by sweeping the runs behind
// it: they fall to the point before.
func (s *state) remove(p *point) {
	i := slices.Index(s.points, p)
	s.points = slices.Delete(s.points, i, i+1)
	if i > 0 {
		s.points[i-1].inherit(p.runs)
		return
	}
	for _, r := range p.runs {
		r.sweep = true
	}
	s.orphans = append(s.orphans, p.runs...)
}

// swept is a run read back in order to be judged.
type swept struct {
	records []death
	pages   []ref
}

// load reads a run that waits to be swept. Nobody pushes to it any more.
func (s *state) load(r *run) (swept, error) {
	w := swept{records: make([]death, 0, min(r.blocks, runLimit))}
	err := r.stored().read(s.pages,
		func(d death) { w.records = append(w.records, d) },
		func(p ref) { w.pages = append(w.pages, p) })
	return w, err
}

// ensureSweep makes resident all that sweep will touch.
func (s *state) ensureSweep(w swept) error {
	for _, d := range w.records {
		if d.slot < slotNone {
			if err := s.slots.ensure(d.slot, uint64(d.n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep judges the records of a run again: those that the point they now lie behind does not
// hold are dropped, the others move to its open run.
func (s *state) sweep(owner *point, r *run, w swept) {
	for _, d := range w.records {
		switch {
		case owner != nil && d.birth <= owner.id:
			owner.bury(s, d)
		case d.slot < slotNone:
			s.slots.drop(extent{d.slot, uint64(d.n)}, s.dropped)
		}
	}
	for _, p := range w.pages {
		s.pages.free(p)
	}
	if owner == nil {
		s.orphans = without(s.orphans, r)
		return
	}
	owner.runs = without(owner.runs, r)
	owner.settle()
}

// nextSweep returns a run that can be swept now and the point it lies behind (nil: none).
func (s *state) nextSweep() (*point, *run) {
	if s.unordered {
		return nil, nil
	}
	return s.waitingRun()
}

// waitingRun returns a run that waits to be swept and the point it lies behind (nil: none).
func (s *state) waitingRun() (*point, *run) {
	if len(s.orphans) > 0 {
		return nil, s.orphans[0]
	}
	for _, p := range s.points {
		for _, r := range p.runs {
			if r.sweep {
				return p, r
			}
		}
	}
	return nil, nil
}

// findRun returns the run with a number that waits to be swept.
func (s *state) findRun(id uint64) (*point, *run) {
	for _, r := range s.orphans {
		if r.id == id {
			return nil, r
		}
	}
	for _, p := range s.points {
		for _, r := range p.runs {
			if r.id == id && r.sweep {
				return p, r
			}
		}
	}
	return nil, nil
}

func without(runs []*run, r *run) []*run {
	i := slices.Index(runs, r)
	return slices.Delete(runs, i, i+1)
}

// behind returns the runs of every record that may hold point p: those of p and of all later
// points. They can be read without the mutex while the admin lock is held.
func (s *state) behind(p *point) []stored {
	var runs []stored
	for _, q := range s.points {
		if q.id < p.id {
			continue
		}
		for _, r := range q.runs {
			runs = append(runs, r.stored())
		}
	}
	return runs
}

// holding collects from runs what blocks held at a point and do not hold any more: one record
// for each block changed since, because exactly one lifetime of a block contains a point.
func holding(at epoch, runs []stored, f *pageFile) ([]death, error) {
	var found []death
	for _, r := range runs {
		err := r.read(f, func(d death) {
			if d.holds(at) {
				found = append(found, d)
			}
		}, nil)
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ensureRollback makes resident all that rollback will touch.
func (s *state) ensureRollback(p *point, records []death) error {
	s.growTo(p.size)
	for i, d := range records {
		s.touch(records, i)
		if err := s.ensureOverwrite(d.block, uint64(d.n)); err != nil {
			return err
		}
		if d.slot >= slotNone {
			continue
		}
		x := extent{d.slot, uint64(d.n)}
		if err := s.slots.ensure(x.first, x.n); err != nil {
			return err
		}
		if !s.slots.retainable(x) {
			return fmt.Errorf("%w: slot %d is part of too many branches; delete some", ErrTooMany, x.first)
		}
	}
	return nil
}

// touch has the processor fetch what the records from i on name of map and counts, many at a time.
// (One by one, each record of a large map waits for memory three or four times.)
func (s *state) touch(records []death, i int) {
	const ahead = 512
	if i%ahead != 0 {
		return
	}
	var sum uint64
	for _, d := range records[i:min(i+ahead, len(records))] {
		sum += s.blocks.peek(d.block) + s.slots.peek(d.slot)
	}
	s.touched += sum // or the compiler would leave it out
}

// rollback begins a new line whose state is that of point p. The state it leaves gets a point of
// its own, left, so that it can be returned to. records are those that hold p.
func (s *state) rollback(p *point, records []death, left *point) {
	left.left, left.keep = true, true
	s.start(left)
	s.line = s.nextLine()
	s.branches = append(s.branches, branch{id: s.line, from: p.line, at: p.id})
	s.size = p.size
	for i, d := range records {
		s.touch(records, i)
		if d.slot < slotNone {
			s.slots.retain(extent{d.slot, uint64(d.n)})
		}
		s.blocks.replace(d.block, uint64(d.n), newEntry(d.slot, s.epoch), s.buried)
	}
	left.settle()
}

// growTo makes the block map long enough for a disk of size bytes. It never gets shorter: a point
// may know blocks that the disk has not now.
func (s *state) growTo(size int64) {
	s.blocks.grow(uint64(max(size, s.size)+blockSize-1) / blockSize)
}

// ensureResize makes resident all that resize will touch.
func (s *state) ensureResize(size int64) error {
	s.growTo(size)
	if size >= s.size {
		return nil
	}
	first := block((size + blockSize - 1) / blockSize)
	return s.ensureOverwrite(first, s.diskBlocks()-uint64(first))
}

// resize changes the disk's length. Blocks that are cut off are given up like discarded ones, so
// that they are not seen again when the disk grows.
func (s *state) resize(size int64) {
	first := block((size + blockSize - 1) / blockSize)
	if n := s.diskBlocks(); uint64(first) < n {
		s.discard(first, n-uint64(first))
		s.settle()
	}
	s.size = size
}

// nextLine returns the number of the line that the next rollback begins.
func (s *state) nextLine() line { return s.branches[len(s.branches)-1].id + 1 }

// ancestors returns the points that lie on the way to the current state, oldest first: those of
// its own line and, of each line it descends from, those up to where it left.
func (s *state) ancestors() []*point {
	upTo := map[line]epoch{}
	for l, top := s.line, epoch(maxEpoch); l != 0; {
		upTo[l] = top
		i := slices.IndexFunc(s.branches, func(b branch) bool { return b.id == l })
		l, top = s.branches[i].from, s.branches[i].at
	}
	var on []*point
	for _, p := range s.points {
		if p.id <= upTo[p.line] {
			on = append(on, p)
		}
	}
	return on
}

// waiting returns the points that were started and not retired yet, oldest first.
func (s *state) waiting() []*point {
	var ps []*point
	for _, p := range s.points {
		if !p.retired && !p.left && !p.temp && p.line == s.line {
			ps = append(ps, p)
		}
	}
	return ps
}
