package checkpoint

import "fmt"

// blockMap says for each block of the guest's disk where its content lies and since when: an
// entry of eight bytes, 512 of them a leaf. A stretch of 2 MiB whose entries continue each other
// costs no leaf but one element of a directory.
type blockMap struct {
	array
	leafs mapLeaf
}

// newBlockMap makes the map of so many blocks from the roots in a catalog, or of more: what was cut
// off a longer disk may be on record as zeroes. Leaves on disk name none but the catalog's slots:
// whatever names a later one is in memory.
func newBlockMap(f *pageFile, mem *arena, c catalogArray, blocks, slots uint64) (*blockMap, error) {
	blocks = max(blocks, min(uint64(len(c.roots))*fanout*leafBlocks, maxBlock))
	m := &blockMap{leafs: mapLeaf{limit: slot(slots)}}
	m.format, m.leafKind, m.dirKind = &m.leafs, kindMapLeaf, kindMapDirectory
	return m, m.init(f, mem, c, (blocks+leafBlocks-1)/leafBlocks)
}

// grow makes room for a disk of so many blocks. It never shrinks: whoever cuts a disk off unmaps
// what lies behind its end.
func (m *blockMap) grow(blocks uint64) { m.extend((blocks + leafBlocks - 1) / leafBlocks) }

// ensure loads the map of n blocks from b.
func (m *blockMap) ensure(b block, n uint64) error {
	if n == 0 {
		return nil
	}
	return m.ensureLeaves(uint64(b)/leafBlocks, (uint64(b)+n-1)/leafBlocks)
}

// run returns the entry of block b, which is loaded, and for how many blocks, at most max, the
// content goes on from there: in consecutive slots, all zeroes, or never written. Births may
// differ. A run ends before blocks that are not loaded.
func (m *blockMap) run(b block, max uint64) (entry, uint64) {
	first, n := m.runInLeaf(b, max)
	for n < max && m.loaded(b+block(n)) {
		e, k := m.runInLeaf(b+block(n), max-n)
		if !first.runsOn(e, n) {
			break
		}
		n += k
	}
	return first, n
}

// runsOn reports whether a run of n blocks that begins with entry e can go on with entry next.
func (e entry) runsOn(next entry, n uint64) bool {
	if e.placed() {
		return next.slot() == e.slot()+slot(n) && next.placed()
	}
	return next.slot() == e.slot()
}

// peek fetches what the map says of a block.
func (m *blockMap) peek(b block) uint64 {
	if p := m.page(uint64(b) / leafBlocks); p != nil {
		return p.words()[b%leafBlocks]
	}
	return 0
}

// loaded reports whether a block is inside the map and its leaf in memory.
func (m *blockMap) loaded(b block) bool {
	i := uint64(b) / leafBlocks
	return i < m.leaves && m.resident(i)
}

// runInLeaf is run within one leaf, or within one directory that is empty.
func (m *blockMap) runInLeaf(b block, max uint64) (entry, uint64) {
	i, at := uint64(b)/leafBlocks, uint64(b)%leafBlocks
	p, el := m.leaf(i)
	if p == nil {
		if m.roots.rows[i/fanout].dir == nil {
			const span = leafBlocks * fanout
			return 0, min(max, span-uint64(b)%span)
		}
		return entry(el.a).at(at), min(max, leafBlocks-at)
	}
	w := p.words()[at : at+min(max, leafBlocks-at)]
	e := entry(w[0])
	n := 1
	switch {
	case e.placed():
		for want := w[0]>>birthBits + 1; n < len(w) && w[n]>>birthBits == want; want++ {
			n++
		}
	case e == 0 || e.slot() == slotNone:
		for n < len(w) && (w[n] == 0 || w[n]>>birthBits == uint64(slotNone)) {
			n++
		}
	default:
		for n < len(w) && w[n]>>birthBits == uint64(slotZero) {
			n++
		}
	}
	return e, uint64(n)
}

// replace gives n blocks from b, which are loaded, the entries that begin with e, and calls died
// for each run of old ones that continue each other with the same birth, in ascending order;
// blocks never written count as such runs too. died must not use the map.
func (m *blockMap) replace(b block, n uint64, e entry, died func(b block, n uint64, old entry)) {
	if n == 1 {
		w := &m.edit(uint64(b) / leafBlocks).words()[b%leafBlocks]
		old := entry(*w)
		*w = uint64(e)
		if b%leafBlocks == leafBlocks-1 {
			m.tidy(uint64(b) / leafBlocks)
		}
		died(b, 1, old)
		return
	}
	step := e.step()
	r := buried{at: b}
	for n > 0 {
		i, at := uint64(b)/leafBlocks, uint64(b)%leafBlocks
		k := min(n, leafBlocks-at)
		if k == leafBlocks {
			r = m.replaceWhole(i, e, r, died)
		} else {
			r = r.swap(m.edit(i).words()[at:at+k], e, step, died)
			if at+k == leafBlocks {
				m.tidy(i)
			}
		}
		b, n, e = b+block(k), n-k, e+entry(k)*step
	}
	died(r.at, r.n, r.e)
}

// buried is a run of old entries that replace has not reported yet.
type buried struct {
	at block
	n  uint64
	e  entry
}

// longestRun bounds what is reported at once, because death records count blocks in 32 bits.
const longestRun = 1 << 30

// add appends k blocks whose entries begin with old, reporting the run that they do not continue.
func (r buried) add(old entry, k uint64, died func(block, uint64, entry)) buried {
	if r.n > 0 && old == r.e.at(r.n) && r.n < longestRun {
		r.n += k
		return r
	}
	if r.n > 0 {
		died(r.at, r.n, r.e)
	}
	return buried{at: r.at + block(r.n), n: k, e: old}
}

// swap puts the entries from e on into part of a leaf.
func (r buried) swap(w []uint64, e, step entry, died func(block, uint64, entry)) buried {
	want, next := r.e.at(r.n), r.e.step()
	for j := range w {
		old := entry(w[j])
		w[j] = uint64(e)
		e += step
		if old == want && r.n > 0 {
			r.n++
			want += next
			continue
		}
		r = r.add(old, 1, died)
		next = old.step()
		want = old + next
	}
	return r
}

// replaceWhole puts the entries from e on into a whole leaf.
func (m *blockMap) replaceWhole(i uint64, e entry, r buried, died func(block, uint64, entry)) buried {
	p, el := m.leaf(i)
	if p == nil {
		r = r.add(entry(el.a), leafBlocks, died)
	} else {
		for _, old := range p.words() {
			r = r.add(entry(old), 1, died)
		}
	}
	switch {
	case e != 0:
		m.replaceLeaf(i, inlineElement(uint64(e)))
	case p != nil || !el.empty():
		m.replaceLeaf(i, element{})
	}
	return r
}

// tidy puts an extent in the place of a leaf whose last entries were just written, if all its
// entries continue each other. Writes in ascending order leave no leaf behind in this way; what
// is filled in another order waits for the next snapshot.
func (m *blockMap) tidy(i uint64) {
	p, _ := m.leaf(i)
	w := p.words()
	if entry(w[leafBlocks-1]) != entry(w[0]).at(leafBlocks-1) {
		return
	}
	if e, ok := m.leafs.collapse(p); ok {
		m.replaceLeaf(i, e)
	}
}

// next returns the first run at or behind b and before end that was ever written: where it
// begins, its first entry and its length; none (n = 0) when there is none. It loads what it meets.
func (m *blockMap) next(b, end block) (at block, e entry, n uint64, err error) {
	for b < end {
		if err := m.ensure(b, 1); err != nil {
			return 0, 0, 0, err
		}
		e, n := m.runInLeaf(b, uint64(end-b))
		if e != 0 {
			e, n = m.run(b, uint64(end-b))
			return b, e, n, nil
		}
		b += block(m.unwritten(b, n))
	}
	return end, 0, 0, nil
}

// unwritten returns how many of the n blocks of a run in a leaf that shows the base were never
// written; behind them comes one that has slotNone and a birth.
func (m *blockMap) unwritten(b block, n uint64) uint64 {
	p, _ := m.leaf(uint64(b) / leafBlocks)
	if p == nil {
		return n
	}
	at := uint64(b) % leafBlocks
	for k, v := range p.words()[at : at+n] {
		if v != 0 {
			return uint64(k)
		}
	}
	return n
}

// step is what is added to an entry to continue it.
func (e entry) step() entry {
	if !e.placed() {
		return 0
	}
	return 1 << birthBits
}

func (e entry) String() string { return fmt.Sprintf("slot %d of epoch %d", e.slot(), e.birth()) }

// birthBits is the number of bits of an entry below its slot.
const birthBits = 28
