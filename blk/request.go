package blk

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/vhostuser"
)

const (
	// maxRanges is the most ranges of a discard or write-zeroes request.
	maxRanges = 16
	// inlineVectors is the number of vectors that a request has room for from the start.
	inlineVectors = 8
)

// limits are what requests are judged by. A worker takes them anew for each batch, as the disk
// may grow.
type limits struct {
	sectors        uint64
	readOnly       bool
	discardSectors uint32 // per range, of discard and write-zeroes alike
	serial         [SerialSize]byte
}

// span is one range, already judged.
type span struct{ off, len int64 }

// request is a chain on its way through the device. It is reused for ever and never copied.
type request struct {
	chain vhostuser.Chain
	io    bio.Request // what the store is doing or is to do
	kind  Kind        // for the statistics
	bytes uint64      // of data asked for

	sector        uint64 // the first one
	looked, taken uint64 // ns; see probe.Request

	status  [statusSize]byte
	written uint64 // bytes of data in the writable part

	ranges [maxRanges]span
	count  int // ranges in use
	next   int // the next one to do

	header [headerSize]byte
	wire   [maxRanges * rangeSize]byte // ranges as they came
	inline [inlineVectors]unix.Iovec
	vector []unix.Iovec // trimmed copies of the chain's vectors
}

// init prepares a request for its first use. tag is its place in the table.
func (r *request) init(tag int) {
	r.io.Tag = uint32(tag)
	r.vector = r.inline[:0]
}

// parse decides what the chain asks for. It reports whether the store has to act, which r.io
// describes then; otherwise r.status is the answer.
func (r *request) parse(l *limits) bool {
	r.kind, r.bytes, r.sector, r.written, r.count, r.next = KindOther, 0, 0, 0, 0, 0
	r.io.Times = bio.Times{}
	if r.chain.WriteLen < statusSize {
		return r.answer(StatusIOError) // which nobody will see
	}
	if _, err := r.chain.CopyIn(r.header[:], 0); err != nil {
		return r.answer(StatusIOError)
	}
	sector := binary.LittleEndian.Uint64(r.header[8:])
	switch binary.LittleEndian.Uint32(r.header[:]) {
	case typeIn:
		return r.parseRead(l, sector)
	case typeOut:
		return r.parseWrite(l, sector)
	case typeFlush:
		r.kind = KindFlush
		return r.ask(bio.Flush, span{}, nil)
	case typeGetID:
		return r.getID(l)
	case typeDiscard:
		r.kind = KindDiscard
		return r.parseRanges(l, 0)
	case typeWriteZeroes:
		r.kind = KindWriteZeroes
		return r.parseRanges(l, flagUnmap)
	}
	return r.answer(StatusUnsupported)
}

// answer ends the request.
func (r *request) answer(s Status) bool {
	r.status[0] = byte(s)
	return false
}

// ask hands the request to the store.
func (r *request) ask(op bio.Op, s span, iov []unix.Iovec) bool {
	r.io.Op, r.io.Off, r.io.Len, r.io.Iov, r.io.Err = op, s.off, s.len, iov, nil
	return true
}

func (r *request) parseRead(l *limits, sector uint64) bool {
	n := r.chain.WriteLen - statusSize
	r.kind, r.bytes, r.sector = KindRead, n, sector
	s, ok := l.span(sector, n)
	if !ok {
		return r.answer(StatusIOError)
	}
	if n == 0 {
		return r.answer(StatusOK)
	}
	return r.ask(bio.Read, s, r.cut(r.chain.Writable, 0, n))
}

func (r *request) parseWrite(l *limits, sector uint64) bool {
	n := r.chain.ReadLen - headerSize
	r.kind, r.bytes, r.sector = KindWrite, n, sector
	s, ok := l.span(sector, n)
	if !ok || l.readOnly {
		return r.answer(StatusIOError)
	}
	if n == 0 {
		return r.answer(StatusOK)
	}
	return r.ask(bio.Write, s, r.cut(r.chain.Readable, headerSize, n))
}

// getID writes the serial number, or as much of it as the guest has room for.
func (r *request) getID(l *limits) bool {
	r.kind = KindGetID
	n := min(SerialSize, r.chain.WriteLen-statusSize)
	if _, err := r.chain.CopyOut(l.serial[:n], 0); err != nil {
		return r.answer(StatusIOError)
	}
	r.bytes, r.written = n, n
	return r.answer(StatusOK)
}

// parseRanges reads the ranges of a discard or write-zeroes request and judges all of them before
// the first is done. allowed are the flags that this type knows: the specification wants UNSUPP
// for any other (section 5.2.6.2).
func (r *request) parseRanges(l *limits, allowed uint32) bool {
	n := r.chain.ReadLen - headerSize
	if n == 0 || n%rangeSize != 0 || n > uint64(len(r.wire)) {
		return r.answer(StatusIOError)
	}
	wire := r.wire[:n]
	if _, err := r.chain.CopyIn(wire, headerSize); err != nil {
		return r.answer(StatusIOError)
	}
	for at := 0; at < len(wire); at += rangeSize {
		if binary.LittleEndian.Uint32(wire[at+12:])&^allowed != 0 {
			return r.answer(StatusUnsupported)
		}
	}
	for at := 0; at < len(wire); at += rangeSize {
		if !r.addRange(l, wire[at:]) {
			return r.answer(StatusIOError)
		}
	}
	if l.readOnly {
		return r.answer(StatusIOError)
	}
	if r.count == 0 {
		return r.answer(StatusOK)
	}
	r.sector = uint64(r.ranges[0].off) / bio.SectorSize
	return r.nextRange()
}

// addRange takes a range unless it is empty; false: the device cannot do it.
func (r *request) addRange(l *limits, wire []byte) bool {
	sector, sectors := binary.LittleEndian.Uint64(wire), binary.LittleEndian.Uint32(wire[8:])
	s, ok := l.span(sector, uint64(sectors)*bio.SectorSize)
	if !ok || sectors > l.discardSectors {
		return false
	}
	if sectors > 0 {
		r.ranges[r.count] = s
		r.count++
		r.bytes += uint64(s.len)
	}
	return true
}

func (r *request) nextRange() bool {
	op := bio.Discard
	if r.kind == KindWriteZeroes {
		op = bio.WriteZeroes
	}
	s := r.ranges[r.next]
	r.next++
	return r.ask(op, s, nil)
}

// advance takes the store's answer. It reports whether the store has more to do for this request:
// the next range, or, when writeThrough is set, the flush that follows a change.
func (r *request) advance(writeThrough bool) bool {
	if r.io.Err != nil {
		return r.answer(StatusIOError)
	}
	if r.next < r.count {
		return r.nextRange()
	}
	switch r.io.Op {
	case bio.Write, bio.Discard, bio.WriteZeroes:
		if writeThrough {
			return r.ask(bio.Flush, span{}, nil)
		}
	case bio.Read:
		r.written = r.bytes
	}
	return r.answer(StatusOK)
}

// span is n bytes from a sector on, false if they are no whole sectors or not on the disk.
func (l *limits) span(sector, n uint64) (span, bool) {
	if n%bio.SectorSize != 0 || sector > l.sectors || n/bio.SectorSize > l.sectors-sector {
		return span{}, false
	}
	return span{off: int64(sector) * bio.SectorSize, len: int64(n)}, true
}

// cut returns the vectors of n bytes of part, from byte skip on. With every ordinary driver both
// ends lie between descriptors, and the chain's own vectors do. Otherwise they are copied and
// trimmed: the chain's must stay whole, as dirty pages are marked by them.
func (r *request) cut(part []unix.Iovec, skip, n uint64) []unix.Iovec {
	first := 0
	for first < len(part) && skip >= part[first].Len {
		skip -= part[first].Len
		first++
	}
	last, left := first, skip+n
	for last < len(part) && left >= part[last].Len {
		left -= part[last].Len
		last++
	}
	if skip == 0 && left == 0 {
		return part[first:last]
	}
	if left > 0 {
		last++
	}
	r.vector = append(r.vector[:0], part[first:last]...)
	if left > 0 {
		r.vector[len(r.vector)-1].SetLen(int(left))
	}
	trimFront(&r.vector[0], skip)
	return r.vector
}

// trimFront drops n bytes, fewer than it has, from the front of v.
func trimFront(v *unix.Iovec, n uint64) {
	v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
	v.SetLen(int(v.Len - n))
}
