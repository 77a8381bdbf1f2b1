package checkpoint

import (
	"encoding/binary"
	"math/bits"
)

// fanout is the number of elements of a directory.
const fanout = 256

// element is what a directory says about one leaf (docs/FORMAT.md, "Directories"): it is empty,
// an inline value stands for all of it, or it lies in a page of the map file.
//
//	b = 0            empty; a and c are 0
//	b = 0xFFFFFFFF   inline: a is the value, c is 0
//	otherwise        a page: its number in the lower 48 bits of a, a note of the leaf's format
//	                 in the upper 16, its generation in b, its checksum in c
type element struct {
	a uint64
	b uint32
	c uint32
}

const (
	elementLen = 16
	inlineMark = 0xFFFFFFFF
	noteShift  = 48
)

func inlineElement(v uint64) element { return element{a: v, b: inlineMark} }

func pageElement(r ref, note uint16) element {
	return element{a: r.page | uint64(note)<<noteShift, b: r.gen, c: r.crc}
}

func (e element) empty() bool  { return e.b == 0 }
func (e element) inline() bool { return e.b == inlineMark }

// stored reports whether the leaf lies in a page.
func (e element) stored() bool { return e.b != 0 && e.b != inlineMark }

func (e element) ref() ref     { return ref{page: e.a & (1<<noteShift - 1), gen: e.b, crc: e.c} }
func (e element) note() uint16 { return uint16(e.a >> noteShift) }

// bitset has a bit for each element of a directory.
type bitset [fanout / 64]uint64

func (s *bitset) has(j uint64) bool { return s[j/64]>>(j%64)&1 != 0 }
func (s *bitset) set(j uint64)      { s[j/64] |= 1 << (j % 64) }
func (s *bitset) clear(j uint64)    { s[j/64] &^= 1 << (j % 64) }

// next returns the first member from j on; fanout if there is none.
func (s *bitset) next(j uint64) uint64 {
	for j < fanout {
		if w := s[j/64] >> (j % 64); w != 0 {
			return j + uint64(bits.TrailingZeros64(w))
		}
		j = (j/64 + 1) * 64
	}
	return fanout
}

// directory is a directory in memory, outside the Go heap. A leaf in memory (pages) goes before
// its element, which then says where the same content lies on disk, or nothing if it is changed.
type directory struct {
	elems   [fanout]element
	pages   [fanout]*page
	changed bitset     // differ from the last snapshot that was begun
	held    bitset     // belong to the snapshot being written: copy before a change
	written bitset     // of a snapshot's directory: leaves that it has on disk and needs no more
	stamp   uint64     // array.stamp when it was last changed
	stored  uint64     // leaves that lie in pages, in the last durable snapshot
	frozen  *directory // where leaves are held: the snapshot's directory
}

// encode writes the directory's page.
func (d *directory) encode(p []byte) {
	for j, e := range d.elems {
		q := p[j*elementLen : (j+1)*elementLen]
		binary.LittleEndian.PutUint64(q[0:], e.a)
		binary.LittleEndian.PutUint32(q[8:], e.b)
		binary.LittleEndian.PutUint32(q[12:], e.c)
	}
}

// decode reads the directory's page, which lies at byte off of the map file, and judges what its
// checksum cannot.
func (d *directory) decode(p []byte, off int64, f leafFormat) error {
	for j := range d.elems {
		q := p[j*elementLen : (j+1)*elementLen]
		e := element{
			a: binary.LittleEndian.Uint64(q[0:]),
			b: binary.LittleEndian.Uint32(q[8:]),
			c: binary.LittleEndian.Uint32(q[12:]),
		}
		at := off + int64(j)*elementLen
		switch {
		case e.empty() && e != element{}:
			return corrupt(mapName, at, "empty element of a directory", e, "all zero")
		case e.inline() && (e.c != 0 || !f.validInline(e.a)):
			return corrupt(mapName, at, "inline element of a directory", e, "a value that a leaf can have")
		case e.stored():
			d.stored++
		}
		d.elems[j] = e
	}
	return nil
}
