package checkpoint

import (
	"bytes"
	"testing"
)

// paged turns what the fuzzer gives into a page.
func paged(in []byte) []byte {
	p := make([]byte, pageSize)
	copy(p, in)
	return p
}

// FuzzDeadPage: what decodes encodes to the same page.
func FuzzDeadPage(f *testing.F) {
	p := make([]byte, pageSize)
	encodeDeadPage(p, ref{page: 7, gen: 2, crc: 9}, []death{
		{block: 1, slot: 2, n: 3, birth: 1, death: 2, line: 1},
		{block: 9, slot: slotZero, n: 1, birth: 0, death: 4, line: 2},
		{block: 11, slot: slotNone, n: 1 << 20, birth: 0, death: 4, line: 2},
	})
	f.Add(p)
	f.Fuzz(func(t *testing.T, in []byte) {
		page := paged(in)
		prev, records, err := decodeDeadPage(page, 0)
		if err != nil {
			return
		}
		again := make([]byte, pageSize)
		encodeDeadPage(again, prev, records)
		if !bytes.Equal(again, page) {
			t.Fatal("encoding what was decoded differs")
		}
	})
}

// FuzzLeaf gives the pages of each array the same bytes.
func FuzzLeaf(f *testing.F) {
	f.Add(make([]byte, pageSize))
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0x10, 0, 0, 0, 0}, pageSize/8))
	formats := []leafFormat{&mapLeaf{limit: 1 << 20}, refsLeaf{}, sumsLeaf{}}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := paged(in)
		for _, format := range formats {
			var leaf page
			if format.decode(&leaf, p, 0) != nil {
				continue
			}
			again := make([]byte, pageSize)
			if format.encode(again, &leaf); !bytes.Equal(again, p) {
				t.Fatalf("%T: encoding what was decoded differs", format)
			}
		}
	})
}

// FuzzDirectory: what decodes encodes to the same page.
func FuzzDirectory(f *testing.F) {
	f.Add(make([]byte, pageSize))
	for _, format := range []leafFormat{&mapLeaf{limit: 1 << 20}, refsLeaf{}} {
		var d directory
		d.elems[0], d.elems[5] = pageElement(ref{page: 3, gen: 1, crc: 4}, 0), inlineElement(1)
		p := make([]byte, pageSize)
		d.encode(p)
		if d.decode(p, 0, format) == nil {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := paged(in)
		for _, format := range []leafFormat{&mapLeaf{limit: 1 << 20}, refsLeaf{}, sumsLeaf{}} {
			var d directory
			if d.decode(p, 0, format) != nil {
				continue
			}
			again := make([]byte, pageSize)
			if d.encode(again); !bytes.Equal(again, p) {
				t.Fatalf("%T: encoding what was decoded differs", format)
			}
		}
	})
}
