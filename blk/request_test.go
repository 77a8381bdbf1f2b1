package blk

import (
	"bytes"
	"math"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/belay-vm/belay/internal/bio"
)

// pieces are memory as descriptors would describe it.
func pieces(p []byte, lengths []int) (vs []unix.Iovec) {
	for _, n := range append(lengths, len(p)) {
		if n = min(n, len(p)); n > 0 {
			v := unix.Iovec{Base: &p[0]}
			v.SetLen(n)
			vs = append(vs, v)
			p = p[n:]
		}
	}
	return vs
}

// gather is what the kernel would see of vectors.
func gather(vs []unix.Iovec) (p []byte) {
	for i := range vs {
		p = append(p, unsafe.Slice(vs[i].Base, vs[i].Len)...)
	}
	return p
}

// offered makes a request of a chain with those two parts.
func offered(readable, writable []byte, cutR, cutW []int) *request {
	r := new(request)
	r.init(0)
	r.chain.Readable, r.chain.ReadLen = pieces(readable, cutR), uint64(len(readable))
	r.chain.Writable, r.chain.WriteLen = pieces(writable, cutW), uint64(len(writable))
	return r
}

var testLimits = limits{sectors: sectors, discardSectors: someLimit, serial: [SerialSize]byte{'x'}}

// Property: the answer depends on the bytes of a request, never on how they are cut, and the
// store gets exactly the data bytes; the chain's own vectors stay as they were.
func TestCutsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := rapid.SampledFrom(rules).Draw(t, "rule")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 40), 0, 40)
		cutR, cutW := cuts.Draw(t, "readable"), cuts.Draw(t, "writable")
		whole := offered(rule.readable, make([]byte, rule.writable), nil, nil)
		cut := offered(rule.readable, make([]byte, rule.writable), cutR, cutW)
		ownR := append([]unix.Iovec(nil), cut.chain.Readable...)
		ownW := append([]unix.Iovec(nil), cut.chain.Writable...)

		asks := whole.parse(&testLimits)
		if cut.parse(&testLimits) != asks || cut.status != whole.status || cut.kind != whole.kind {
			t.Fatalf("cut: status %d of %v; whole: status %d of %v",
				cut.status, cut.kind, whole.status, whole.kind)
		}
		if !asks {
			return
		}
		if cut.io.Op != whole.io.Op || cut.io.Off != whole.io.Off || cut.io.Len != whole.io.Len {
			t.Fatalf("cut asks for %+v, whole for %+v", cut.io, whole.io)
		}
		if !bytes.Equal(gather(cut.io.Iov), gather(whole.io.Iov)) {
			t.Fatal("the cut changed the data")
		}
		for i, v := range append(ownR, ownW...) {
			if now := append(cut.chain.Readable, cut.chain.Writable...)[i]; now != v {
				t.Fatalf("vector %d of the chain was changed", i)
			}
		}
	})
}

// FuzzParse feeds any bytes in any cut: whatever the store is asked to do lies on the disk and in
// the chain.
func FuzzParse(f *testing.F) {
	for _, rule := range rules {
		f.Add(rule.readable, uint16(rule.writable), uint8(7), uint8(3), false)
	}
	f.Add(join(header(typeOut, 1), make([]byte, 1024)), uint16(1), uint8(1), uint8(1), true)
	f.Fuzz(func(t *testing.T, readable []byte, writable uint16, cutR, cutW uint8, readOnly bool) {
		l := testLimits
		l.readOnly = readOnly
		out := make([]byte, writable)
		r := offered(readable, out, repeat(cutR, len(readable)), repeat(cutW, len(out)))
		asks := r.parse(&l)
		for steps := 0; asks; steps++ {
			if steps > maxRanges {
				t.Fatal("the request never ends")
			}
			checkAsked(t, r, &l, readable, len(out))
			asks = r.advance(true)
		}
		if r.status[0] > byte(StatusUnsupported) || r.kind >= NumKinds {
			t.Fatalf("status %d, kind %d", r.status[0], r.kind)
		}
		if r.written+statusSize > uint64(max(len(out), 1)) {
			t.Fatalf("%d bytes written of %d", r.written+statusSize, len(out))
		}
	})
}

func repeat(n uint8, total int) (lengths []int) {
	for at := 0; n > 0 && at < total; at += int(n) {
		lengths = append(lengths, int(n))
	}
	return lengths
}

// checkAsked checks what a store may rely on.
func checkAsked(t *testing.T, r *request, l *limits, readable []byte, writable int) {
	t.Helper()
	io := &r.io
	if io.Off < 0 || io.Len < 0 || io.Off%bio.SectorSize != 0 || io.Len%bio.SectorSize != 0 ||
		io.Off > math.MaxInt64-io.Len || io.Off+io.Len > int64(l.sectors)*bio.SectorSize {
		t.Fatalf("op %d at %d, %d bytes", io.Op, io.Off, io.Len)
	}
	if l.readOnly && io.Op != bio.Read && io.Op != bio.Flush {
		t.Fatalf("op %d on a read-only disk", io.Op)
	}
	data := gather(io.Iov)
	switch io.Op {
	case bio.Read:
		if int64(len(data)) != io.Len || len(data) != writable-statusSize {
			t.Fatalf("read of %d bytes into %d", io.Len, len(data))
		}
	case bio.Write:
		if int64(len(data)) != io.Len || !bytes.Equal(data, readable[headerSize:]) {
			t.Fatalf("write of %d bytes from %d", io.Len, len(data))
		}
	case bio.Flush:
		if io.Len != 0 || io.Off != 0 || io.Iov != nil {
			t.Fatalf("flush of %+v", io)
		}
	default:
		if io.Len == 0 || io.Iov != nil {
			t.Fatalf("range of %+v", io)
		}
	}
}

// A chain of more pieces than a request has room for makes it grow once, and keep what it has.
func TestVectorsAreKept(t *testing.T) {
	readable := join(header(typeOut, 0), make([]byte, 512))
	r := offered(readable, make([]byte, 1), repeat(3, len(readable)), nil)
	if got := testing.AllocsPerRun(10, func() { r.parse(&testLimits) }); got != 0 {
		t.Fatalf("%v allocations per request", got)
	}
	if len(r.io.Iov) <= inlineVectors {
		t.Fatalf("only %d vectors: not the case to be tested", len(r.io.Iov))
	}
}
