package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// rawDesc is a descriptor as a hostile guest writes it.
type rawDesc struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

const (
	next     = flagNext
	write    = flagWrite
	indirect = flagIndirect
)

// badChain is a descriptor table, an indirect table at tablesAt and why a split ring of four
// refuses the chain that starts at descriptor 0; nil if it does not.
type badChain struct {
	name  string
	ring  []rawDesc
	table []rawDesc
	want  error
}

const noMemory = uint64(0x1000)

var badChains = []badChain{
	{"plain", []rawDesc{{dataAt, 16, next, 1}, {dataAt, 9, write, 0}}, nil, nil},
	{"all zero lengths", []rawDesc{{0, 0, next, 1}, {0, 0, write, 0}}, nil, nil},
	{"itself next", []rawDesc{{dataAt, 1, next, 0}}, nil, ErrChainLoop},
	{"loop of two", []rawDesc{{dataAt, 1, next, 1}, {dataAt, 1, next, 0}}, nil, ErrChainLoop},
	{"next outside", []rawDesc{{dataAt, 1, next, 4}}, nil, ErrChainNext},
	{"next far outside", []rawDesc{{dataAt, 1, next, 0xffff}}, nil, ErrChainNext},
	{"readable last", []rawDesc{{dataAt, 1, write | next, 1}, {dataAt, 1, 0, 0}}, nil, ErrChainOrder},
	{"no memory", []rawDesc{{noMemory, 1, 0, 0}}, nil, ErrUnmapped},
	{"below memory", []rawDesc{{guestBase - 1, 2, 0, 0}}, nil, ErrUnmapped},
	{"runs out of memory", []rawDesc{{guestBase + 2*regionSize - 1, 2, 0, 0}}, nil, ErrUnmapped},
	{"end of the address space", []rawDesc{{^uint64(0), 2, 0, 0}}, nil, ErrUnmapped},
	{"too much", []rawDesc{{dataAt, 1, next, 1}, {dataAt, 0xffffffff, write, 0}}, nil, ErrChainTotal},

	{"table", []rawDesc{{dataAt, 1, next, 1}, {tablesAt, 32, indirect, 0}},
		[]rawDesc{{dataAt, 1, next, 1}, {dataAt, 1, write, 0}}, nil},
	{"table longer than its chain", []rawDesc{{tablesAt, 64, indirect, 0}},
		[]rawDesc{{dataAt, 1, 0, 0}}, nil},
	{"table of nothing", []rawDesc{{tablesAt, 0, indirect, 0}}, nil, ErrIndirectSize},
	{"table of half a descriptor", []rawDesc{{tablesAt, 24, indirect, 0}}, nil, ErrIndirectSize},
	{"table too long", []rawDesc{{tablesAt, 16 * (maxPieces + 1), indirect, 0}}, nil, ErrIndirectSize},
	{"table of 4 GiB", []rawDesc{{tablesAt, 0xfffffff0, indirect, 0}}, nil, ErrIndirectSize},
	{"table outside", []rawDesc{{noMemory, 16, indirect, 0}}, nil, ErrUnmapped},
	{"table over the end", []rawDesc{{guestBase + 2*regionSize - 8, 16, indirect, 0}}, nil, ErrUnmapped},
	{"table and next", []rawDesc{{tablesAt, 16, indirect | next, 1}}, nil, ErrIndirectChain},
	{"table in a table", []rawDesc{{tablesAt, 16, indirect, 0}},
		[]rawDesc{{tablesAt, 16, indirect, 0}}, ErrIndirectNest},
	{"loop in a table", []rawDesc{{tablesAt, 32, indirect, 0}},
		[]rawDesc{{dataAt, 1, next, 1}, {dataAt, 1, next, 0}}, ErrChainLoop},
	{"table next outside", []rawDesc{{tablesAt, 16, indirect, 0}},
		[]rawDesc{{dataAt, 1, next, 1}}, ErrChainNext},
	{"table order", []rawDesc{{dataAt, 1, next | write, 1}, {tablesAt, 16, indirect, 0}},
		[]rawDesc{{dataAt, 1, 0, 0}}, ErrChainOrder},
}

// TestChainHostile : each bad chain has its reason and the ring goes on.
func TestChainHostile(t *testing.T) {
	for _, bc := range badChains {
		t.Run(bc.name, func(t *testing.T) {
			r := newRig(t, rigOptions{size: 4})
			d := r.drv.(*splitDriver)
			writeDescs(d.desc, bc.ring)
			writeDescs(guestBytes(r.mem, tablesAt, tableRoom), bc.table)
			d.offer(0)
			wantChain(t, r, 0, bc.want)
			wantGoesOn(r)
		})
	}
}

func writeDescs(b []byte, ds []rawDesc) {
	for i, d := range ds {
		putDesc(b, i, seg{addr: d.addr, len: d.len}, d.flags, d.next)
	}
}

// wantChain takes a chain, good or bad for the given reason, and completes it.
func wantChain(t *testing.T, r *rig, head uint16, want error) {
	t.Helper()
	var c Chain
	ok, err := r.q.Next(&c)
	var bad *ChainError
	if !ok || !errors.Is(err, want) || want != nil && !errors.As(err, &bad) {
		t.Fatalf("Next: %v, %v; want %v", ok, err, want)
	}
	if c.Head != head || bad != nil && bad.Head != head {
		t.Errorf("head %d, want %d (%v)", c.Head, head, err)
	}
	if want != nil && (len(c.Readable)+len(c.Writable) > 0 || c.ReadLen+c.WriteLen > 0) {
		t.Error("a bad chain has memory")
	}
	r.q.Complete(&c, 0)
	r.publish()
	r.wantUsed(head, 0)
}

func wantGoesOn(r *rig) {
	r.Helper()
	r.empty()
	passOne(r, seg{dataAt, 3, false}, seg{dataAt, 1, true})
}

// TestChainHostilePacked : as TestChainHostile, with a packed ring of four.
func TestChainHostilePacked(t *testing.T) {
	ok, in := seg{dataAt, 1, false}, seg{dataAt, 1, true}
	for _, bc := range []struct {
		name  string
		segs  []seg
		flags uint16
		want  error
	}{
		{"no memory, then more", []seg{{noMemory, 1, false}, ok, in}, 0, ErrUnmapped},
		{"order", []seg{in, ok, in}, 0, ErrChainOrder},
		{"table of nothing", []seg{{tablesAt, 0, false}}, indirect, ErrIndirectSize},
		{"table and next", []seg{{tablesAt, 16, false}, {tablesAt, 16, false}}, indirect, ErrIndirectChain},
		{"table in a table", []seg{{tablesAt, 16, false}}, indirect, ErrIndirectNest},
		{"table outside", []seg{{noMemory, 16, false}}, indirect, ErrUnmapped},
	} {
		t.Run(bc.name, func(t *testing.T) {
			r := newRig(t, rigOptions{packed: true, size: 4})
			putDesc(guestBytes(r.mem, tablesAt, 16), 0, seg{tablesAt, 16, false}, 0, indirect)
			id := r.drv.(*packedDriver).addRaw(bc.segs, bc.flags)
			wantChain(t, r, id, bc.want)
			wantGoesOn(r)
		})
	}
}

// TestIndirectNotNegotiated refuses tables where the feature is off.
func TestIndirectNotNegotiated(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 4})
		c := r.drv.config()
		c.indirect = false
		q, err := newQueue(c, r.mem, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.close)
		r.q = q
		wantChain(t, r, r.drv.add(true, seg{dataAt, 1, false}), ErrIndirectOff)
	})
}

// TestChainPieces holds the number of vectors to its limit, in a table larger than the ring.
func TestChainPieces(t *testing.T) {
	for _, tt := range []struct {
		extra int
		want  error
	}{{0, nil}, {1, ErrChainPieces}} {
		r := newRig(t, rigOptions{size: 2})
		d := r.drv.(*splitDriver)
		table := guestBytes(r.mem, tablesAt, maxPieces*descLen)
		border := guestBase + regionSize
		for i := range maxPieces {
			putDesc(table, i, seg{border - 1, 1, false}, flagNext, uint16(i+1))
		}
		last := seg{border - 1, uint32(1 + tt.extra), false} // over the border: one vector more
		putDesc(table, maxPieces-1, last, 0, 0)
		wantChain(t, r, d.addRaw(seg{addr: tablesAt, len: maxPieces * descLen}, flagIndirect), tt.want)
	}
}

// TestIndirectAnywhere : an indirect table need not be aligned.
func TestIndirectAnywhere(t *testing.T) {
	for shift := range uint64(16) {
		r := newRig(t, rigOptions{size: 4})
		at := tablesAt + shift
		putDesc(guestBytes(r.mem, at, 64), 0, seg{dataAt, 5, false}, flagNext, 1)
		putDesc(guestBytes(r.mem, at, 64), 1, seg{dataAt, 7, true}, flagWrite, 0)
		r.drv.(*splitDriver).addRaw(seg{addr: at, len: 32}, flagIndirect)
		var c Chain
		r.next(&c)
		if c.ReadLen != 5 || c.WriteLen != 7 {
			t.Errorf("shift %d: %d and %d bytes", shift, c.ReadLen, c.WriteLen)
		}
	}
}

// TestCopyProperty : a chain is one stream of bytes, however it is split.
func TestCopyProperty(t *testing.T) {
	mem := heapTable()
	rapid.Check(t, func(t *rapid.T) {
		var c Chain
		c.reset(mem)
		var model []uint64 // guest address of each byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 40), 0, 12).Draw(t, "pieces") {
			at := guestBase + regionSize - uint64(rapid.IntRange(0, 60).Draw(t, "before the border"))
			c.addPiece(descriptor{addr: at, len: uint32(n), flags: flagWrite})
			for i := range n {
				model = append(model, at+uint64(i))
			}
		}
		if err := c.finish(0); err != nil || c.WriteLen != uint64(len(model)) {
			t.Fatalf("%d bytes, want %d: %v", c.WriteLen, len(model), err)
		}
		off := rapid.IntRange(0, len(model)+3).Draw(t, "offset")
		data := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "data")
		want := max(0, min(len(data), len(model)-off))
		n, err := c.CopyOut(data, uint64(off))
		if n != want || (err != nil) != (n < len(data)) || err != nil && err != io.ErrUnexpectedEOF {
			t.Fatalf("CopyOut at %d: %d, %v; want %d", off, n, err, want)
		}
		wrote := map[uint64]byte{} // a later byte at the same address wins
		for i := range n {
			wrote[model[off+i]] = data[i]
		}
		for at, b := range wrote {
			if got := guestBytes(mem, at, 1)[0]; got != b {
				t.Fatalf("guest byte %#x is %d, want %d", at, got, b)
			}
		}
	})
}

// TestChainErrorText keeps what a log shows.
func TestChainErrorText(t *testing.T) {
	err := &ChainError{Head: 3, Index: 1, Value: 0x1000, Err: ErrUnmapped}
	if got := fmt.Sprint(err); got != "chain 3: descriptor 1: 0x1000: outside guest memory" {
		t.Error(got)
	}
}
