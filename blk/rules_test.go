package blk

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// header is a request's header.
func header(kind uint32, sector uint64) []byte {
	p := binary.LittleEndian.AppendUint32(nil, kind)
	p = binary.LittleEndian.AppendUint32(p, 0)
	return binary.LittleEndian.AppendUint64(p, sector)
}

// ranges appends ranges, given as sector, sectors and flags, to a header.
func ranges(kind uint32, fields ...uint64) []byte {
	p := header(kind, 0)
	for ; len(fields) > 0; fields = fields[3:] {
		p = binary.LittleEndian.AppendUint64(p, fields[0])
		p = binary.LittleEndian.AppendUint32(p, uint32(fields[1]))
		p = binary.LittleEndian.AppendUint32(p, uint32(fields[2]))
	}
	return p
}

// writeOf is a write of n zero bytes.
func writeOf(sector uint64, n int) []byte { return join(header(typeOut, sector), make([]byte, n)) }

func join(ps ...[]byte) []byte { return bytes.Join(ps, nil) }

const (
	sectors   = diskSize / 512
	untouched = 0xee // what the writable part holds before
	someLimit = 4096 // sectors per range, in these tests

	fine, ioErr, unsupp = StatusOK, StatusIOError, StatusUnsupported
)

// rules are what the specification, or this package where it is silent, says about requests that
// are complete chains. Statuses are those of a writable disk, then of a read-only one.
var rules = []struct {
	name     string
	readable []byte
	writable int
	want     Status
	readOnly Status
	written  uint32 // of the writable disk
}{
	{"read", header(typeIn, 0), 513, fine, fine, 513},
	{"read of the last sector", header(typeIn, sectors-1), 513, fine, fine, 513},
	{"read behind the end", header(typeIn, sectors), 513, ioErr, ioErr, 1},
	{"read across the end", header(typeIn, sectors-1), 1025, ioErr, ioErr, 1},
	{"read of nothing", header(typeIn, 0), 1, fine, fine, 1},
	{"read of nothing at the end", header(typeIn, sectors), 1, fine, fine, 1},
	{"read of nothing behind the end", header(typeIn, sectors+1), 1, ioErr, ioErr, 1},
	{"read of half a sector", header(typeIn, 0), 257, ioErr, ioErr, 1},
	{"read of a sector and a byte", header(typeIn, 0), 514, ioErr, ioErr, 1},
	{"read at the highest sector", header(typeIn, math.MaxUint64), 513, ioErr, ioErr, 1},
	{"read where bytes overflow", header(typeIn, 1<<55), 513, ioErr, ioErr, 1},
	{"read with readable data", join(header(typeIn, 0), make([]byte, 100)), 513, fine, fine, 513},

	{"write", writeOf(9, 512), 1, fine, ioErr, 1},
	{"write of the last sector", writeOf(sectors-1, 512), 1, fine, ioErr, 1},
	{"write behind the end", writeOf(sectors, 512), 1, ioErr, ioErr, 1},
	{"write across the end", writeOf(sectors-1, 1024), 1, ioErr, ioErr, 1},
	{"write of nothing", header(typeOut, 0), 1, fine, ioErr, 1},
	{"write of one byte", writeOf(0, 1), 1, ioErr, ioErr, 1},
	{"write of 511 bytes", writeOf(0, 511), 1, ioErr, ioErr, 1},
	{"write with room for more than a status", writeOf(9, 512), 9, fine, ioErr, 1},

	{"flush", header(typeFlush, 0), 1, fine, fine, 1},
	{"flush with a sector", header(typeFlush, 1<<40), 1, fine, fine, 1},
	{"flush with data", join(header(typeFlush, 0), make([]byte, 7)), 30, fine, fine, 1},

	{"serial", header(typeGetID, 0), 21, fine, fine, 21},
	{"serial with little room", header(typeGetID, 0), 6, fine, fine, 6},
	{"serial with no room", header(typeGetID, 0), 1, fine, fine, 1},
	{"serial with much room", header(typeGetID, 0), 101, fine, fine, 21},

	{"discard", ranges(typeDiscard, 8, 8, 0), 1, fine, ioErr, 1},
	{"discard of two ranges", ranges(typeDiscard, 8, 8, 0, 100, 3, 0), 1, fine, ioErr, 1},
	{"discard of nothing", ranges(typeDiscard, 8, 0, 0), 1, fine, ioErr, 1},
	{"discard without a range", header(typeDiscard, 0), 1, ioErr, ioErr, 1},
	{"discard with half a range", ranges(typeDiscard, 8, 8, 0)[:24], 1, ioErr, ioErr, 1},
	{"discard with a range and a half", join(ranges(typeDiscard, 8, 8, 0), make([]byte, 8)), 1, ioErr, ioErr, 1},
	{"discard of the most ranges", join(header(typeDiscard, 0), make([]byte, 16*16)), 1, fine, ioErr, 1},
	{"discard of too many ranges", join(header(typeDiscard, 0), make([]byte, 17*16)), 1, ioErr, ioErr, 1},
	{"discard of a long range", ranges(typeDiscard, 0, someLimit, 0), 1, fine, ioErr, 1},
	{"discard of too long a range", ranges(typeDiscard, 0, someLimit+1, 0), 1, ioErr, ioErr, 1},
	{"discard across the end", ranges(typeDiscard, sectors-1, 2, 0), 1, ioErr, ioErr, 1},
	{"discard with a bad second range", ranges(typeDiscard, 8, 8, 0, sectors, 1, 0), 1, ioErr, ioErr, 1},
	{"discard with unmap", ranges(typeDiscard, 8, 8, 1), 1, unsupp, unsupp, 1},
	{"discard with a reserved flag", ranges(typeDiscard, 8, 8, 1<<31), 1, unsupp, unsupp, 1},
	{"discard with a flag in the second range", ranges(typeDiscard, 8, 8, 0, 8, 8, 2), 1, unsupp, unsupp, 1},

	{"write zeroes", ranges(typeWriteZeroes, 8, 8, 0), 1, fine, ioErr, 1},
	{"write zeroes and unmap", ranges(typeWriteZeroes, 8, 8, 1), 1, fine, ioErr, 1},
	{"write zeroes with a reserved flag", ranges(typeWriteZeroes, 8, 8, 2), 1, unsupp, unsupp, 1},
	{"write zeroes across the end", ranges(typeWriteZeroes, sectors-1, 2, 1), 1, ioErr, ioErr, 1},
	{"write zeroes, overflow", ranges(typeWriteZeroes, math.MaxUint64, math.MaxUint32, 1), 1, ioErr, ioErr, 1},

	{"SCSI command", header(2, 0), 1, unsupp, unsupp, 1},
	{"lifetime", header(10, 0), 1, unsupp, unsupp, 1},
	{"secure erase", ranges(14, 8, 8, 0), 1, unsupp, unsupp, 1},
	{"unknown type", header(math.MaxUint32, 0), 513, unsupp, unsupp, 1},
	{"barrier bit of old", header(1<<31|typeOut, 0), 1, unsupp, unsupp, 1},

	{"no header", nil, 1, ioErr, ioErr, 1},
	{"half a header", header(typeIn, 0)[:8], 513, ioErr, ioErr, 1},
	{"a byte too little of a header", header(typeFlush, 0)[:15], 1, ioErr, ioErr, 1},
}

func TestRules(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		t.Run(map[bool]string{false: "writable", true: "read-only"}[readOnly], func(t *testing.T) {
			store := newFileStore(t, diskSize, true)
			store.readOnly = readOnly
			s := serve(t, store, Options{Engine: aio.Inline, DiscardSectors: someLimit},
				vhosttest.Options{Indirect: true})
			for _, rule := range rules {
				t.Run(rule.name, func(t *testing.T) {
					want, written := rule.want, rule.written
					if readOnly {
						want = rule.readOnly
					}
					got, n := exchange(t, s, rule.readable, rule.writable)
					if end := Status(got[len(got)-1]); end != want || n != written {
						t.Fatalf("status %d with %d bytes, want %d with %d", end, n, want, written)
					}
				})
			}
		})
	}
}

// exchange sends a chain of one readable and one writable descriptor, each left out if it is
// empty, and returns the writable part and the length that the device reported.
func exchange(t testing.TB, s *served, readable []byte, writable int) ([]byte, uint32) {
	t.Helper()
	var segs []vhosttest.Seg
	if len(readable) > 0 {
		at := s.Alloc(uint64(len(readable)), 1)
		copy(s.Memory()[at:], readable)
		segs = append(segs, vhosttest.Seg{GPA: at, Len: uint32(len(readable))})
	}
	at := s.Alloc(uint64(writable)+1, 1)
	out := s.Memory()[at : at+uint64(writable)]
	for i := range out {
		out[i] = untouched
	}
	if writable > 0 {
		segs = append(segs, vhosttest.Seg{GPA: at, Len: uint32(writable), Write: true})
	}
	return out, send(t, s.Queue(0), segs)
}

// send puts one chain into a ring and waits for it.
func send(t testing.TB, d *vhosttest.Driver, segs []vhosttest.Seg) uint32 {
	t.Helper()
	id, err := d.Add(segs)
	must(t, err)
	d.Kick()
	for {
		got, n, ok, err := d.Poll()
		must(t, err)
		if ok {
			if got != id {
				t.Fatalf("chain %d came back, want %d", got, id)
			}
			return n
		}
		if ok, err := d.Wait(10 * time.Second); err != nil || !ok {
			t.Fatalf("no answer: %v", err)
		}
	}
}

func TestNoPlaceForAStatus(t *testing.T) {
	s := serve(t, newFileStore(t, diskSize, true), Options{Engine: aio.Inline}, vhosttest.Options{})
	data := join(header(typeOut, 0), bytes.Repeat([]byte{1}, 512))
	if _, n := exchange(t, s, data, 0); n != 0 {
		t.Fatalf("the device says that it wrote %d bytes", n)
	}
	wantData(t, s.disk(t, 0, 1, 512), 0, make([]byte, 512)) // and nothing was done
}

// A malformed chain comes back empty, and the ring goes on.
func TestMalformedChain(t *testing.T) {
	s := serve(t, newFileStore(t, diskSize, true), Options{Engine: aio.Inline}, vhosttest.Options{})
	outside := vhosttest.Seg{GPA: 1 << 50, Len: 512, Write: true}
	if n := send(t, s.Queue(0), []vhosttest.Seg{outside}); n != 0 {
		t.Fatalf("the device says that it wrote %d bytes", n)
	}
	must(t, s.disk(t, 0, 1, 512).Flush())
	if got := s.dev.Stats()[0].Malformed; got != 1 {
		t.Fatalf("%d malformed chains were counted", got)
	}
}

// Guest memory whose file was truncated is an error of the request, not of the process: IOERR,
// or no answer at all where the status was to go.
func TestMemoryVanishes(t *testing.T) {
	eachEngine(t, Options{}, vhosttest.Options{MemBytes: 4 << 20}, func(t *testing.T, s *served) {
		status := s.Alloc(1, 1)
		kept := s.Alloc(headerSize+512, 4096)
		copy(s.Memory()[kept:], header(typeIn, 0))
		const gone = 3 << 20
		must(t, unix.Ftruncate(s.RAM().FD(), gone))
		defer func() { must(t, unix.Ftruncate(s.RAM().FD(), 4<<20)) }()

		n := send(t, s.Queue(0), []vhosttest.Seg{
			{GPA: kept, Len: headerSize}, {GPA: gone, Len: 512, Write: true}, {GPA: status, Len: 1, Write: true}})
		if got := Status(s.Memory()[status]); got != StatusIOError || n != 1 {
			t.Fatalf("read into lost memory: status %d, %d bytes", got, n)
		}
		n = send(t, s.Queue(0), []vhosttest.Seg{
			{GPA: gone, Len: headerSize}, {GPA: status, Len: 1, Write: true}})
		if got := Status(s.Memory()[status]); got != StatusIOError || n != 1 {
			t.Fatalf("lost header: status %d, %d bytes", got, n)
		}
		n = send(t, s.Queue(0), []vhosttest.Seg{
			{GPA: kept, Len: headerSize}, {GPA: kept + headerSize, Len: 512, Write: true},
			{GPA: gone, Len: 1, Write: true}})
		if n != 0 {
			t.Fatalf("lost status: %d bytes", n)
		}
		copy(s.Memory()[kept:], header(typeGetID, 0))
		n = send(t, s.Queue(0), []vhosttest.Seg{
			{GPA: kept, Len: headerSize}, {GPA: gone, Len: 20, Write: true}, {GPA: status, Len: 1, Write: true}})
		if got := Status(s.Memory()[status]); got != StatusIOError || n != 1 {
			t.Fatalf("serial into lost memory: status %d, %d bytes", got, n)
		}
		must(t, s.disk(t, 0, 1, 512).Flush())
	})
}

func TestSerialIsPaddedAndCut(t *testing.T) {
	opts := Options{Engine: aio.Inline, Serial: "abcdef"}
	s := serve(t, newFileStore(t, diskSize, true), opts, vhosttest.Options{})
	for _, row := range []struct {
		room int
		want string
	}{
		{4, "abcd"},
		{20, "abcdef" + string(make([]byte, 14))},
		{22, "abcdef" + string(make([]byte, 14)) + "\xee\xee"},
	} {
		got, _ := exchange(t, s, header(typeGetID, 0), row.room+1)
		if string(got[:row.room]) != row.want {
			t.Errorf("room for %d bytes: got %q, want %q", row.room, got[:row.room], row.want)
		}
	}
}
