package checkpoint

import (
	"bytes"
	"encoding/binary"
)

// leafFormat is what tells the arrays' leaves apart.
type leafFormat interface {
	// encode and decode translate between memory and disk. decode judges the values, which the
	// checksum cannot; the page lies at byte off of the map file.
	encode(p []byte, leaf *page)
	decode(leaf *page, p []byte, off int64) error
	// fill writes out what an inline value stands for.
	fill(leaf *page, v uint64)
	// collapse returns the element that stands for a leaf without a page, if there is one.
	collapse(leaf *page) (element, bool)
	// validInline judges the value of an inline element from disk.
	validInline(v uint64) bool
	// note is a summary that the directory keeps of a leaf in a page.
	note(leaf *page) uint16
}

// mapLeaf is a leaf of the block map: 512 entries. An inline value is the first of 512 entries
// that continue each other.
type mapLeaf struct {
	limit slot // entries name slots below
}

// leafBlocks is the number of blocks that a leaf of the block map covers.
const leafBlocks = pageSize / 8

func (f *mapLeaf) encode(p []byte, leaf *page) {
	for i, v := range leaf.words() {
		binary.LittleEndian.PutUint64(p[i*8:], v)
	}
}

func (f *mapLeaf) decode(leaf *page, p []byte, off int64) error {
	w := leaf.words()
	for i := range w {
		e := entry(binary.LittleEndian.Uint64(p[i*8:]))
		if !f.valid(e, 1) {
			return corrupt(mapName, off+int64(i)*8, "entry of the block map", e.String(),
				"a birth and a slot of the data area")
		}
		w[i] = uint64(e)
	}
	return nil
}

// valid judges the first of n entries that continue each other.
func (f *mapLeaf) valid(e entry, n slot) bool {
	if e == 0 {
		return true
	}
	return e.birth() != 0 && (!e.placed() || e.slot() < f.limit && n <= f.limit-e.slot())
}

func (f *mapLeaf) fill(leaf *page, v uint64) {
	w, e := leaf.words(), entry(v)
	step := e.step()
	for i := range w {
		w[i] = uint64(e)
		e += step
	}
}

func (f *mapLeaf) collapse(leaf *page) (element, bool) {
	w := leaf.words()
	e := entry(w[0])
	step := e.step()
	for i := range w {
		if w[i] != uint64(e) {
			return element{}, false
		}
		e += step
	}
	if w[0] == 0 {
		return element{}, true
	}
	return inlineElement(w[0]), true
}

func (f *mapLeaf) validInline(v uint64) bool { return v != 0 && f.valid(entry(v), leafBlocks) }
func (f *mapLeaf) note(*page) uint16         { return 0 }

// refsLeaf is a leaf of the reference counts: 4096 counts of a byte. An inline value is the count
// of all of them; the note is the number of counts that are zero.
type refsLeaf struct{}

func (refsLeaf) encode(p []byte, leaf *page) { copy(p, leaf[:]) }

func (refsLeaf) decode(leaf *page, p []byte, _ int64) error {
	copy(leaf[:], p)
	return nil
}

func (refsLeaf) fill(leaf *page, v uint64) {
	for i := range leaf {
		leaf[i] = byte(v)
	}
}

func (refsLeaf) collapse(leaf *page) (element, bool) {
	if !bytes.Equal(leaf[1:], leaf[:pageSize-1]) {
		return element{}, false
	}
	if leaf[0] == 0 {
		return element{}, true
	}
	return inlineElement(uint64(leaf[0])), true
}

func (refsLeaf) validInline(v uint64) bool { return v != 0 && v <= maxCount }
func (refsLeaf) note(leaf *page) uint16    { return uint16(bytes.Count(leaf[:], zeroCount)) }

var zeroCount = []byte{0}

// sumsLeaf is a leaf of the payload checksums: 1024 of them, never inline.
type sumsLeaf struct{}

func (sumsLeaf) encode(p []byte, leaf *page) {
	for i, v := range leaf.pairs() {
		binary.LittleEndian.PutUint32(p[i*4:], v)
	}
}

func (sumsLeaf) decode(leaf *page, p []byte, _ int64) error {
	w := leaf.pairs()
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(p[i*4:])
	}
	return nil
}

func (sumsLeaf) fill(*page, uint64)             { invariant("checksums are never inline") }
func (sumsLeaf) collapse(*page) (element, bool) { return element{}, false }
func (sumsLeaf) validInline(uint64) bool        { return false }
func (sumsLeaf) note(*page) uint16              { return 0 }
