package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxLength is the most bytes that an entry itself can name (the kernel moves no more at a time).
const maxLength = 1<<31 - 4096

// Readv prepares a vectored read at byte offset off of fd; false: the ring is full. A single piece is
// named in the entry itself, which spares the kernel to fetch the vector.
func (r *Ring) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) bool {
	if len(iov) == 1 && iov[0].Len <= maxLength {
		return r.prepare(opRead, fd, unsafe.Pointer(iov[0].Base), uint32(iov[0].Len), uint64(off), 0, tag)
	}
	return r.prepare(opReadv, fd, unsafe.Pointer(unsafe.SliceData(iov)), uint32(len(iov)), uint64(off), 0, tag)
}

// Writev prepares a vectored write at byte offset off of fd; false: the ring is full.
func (r *Ring) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) bool {
	if len(iov) == 1 && iov[0].Len <= maxLength {
		return r.prepare(opWrite, fd, unsafe.Pointer(iov[0].Base), uint32(iov[0].Len), uint64(off), 0, tag)
	}
	return r.prepare(opWritev, fd, unsafe.Pointer(unsafe.SliceData(iov)), uint32(len(iov)), uint64(off), 0, tag)
}

// Read prepares a read from a stream, for instance of an eventfd's counter; false: the ring is
// full.
func (r *Ring) Read(fd int, buf []byte, tag uint64) bool {
	return r.prepare(opRead, fd, unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)), 0, 0, tag)
}

// Fdatasync prepares making fd's data durable; false: the ring is full. It is not ordered with
// writes that are still outstanding.
func (r *Ring) Fdatasync(fd int, tag uint64) bool {
	return r.prepare(opFsync, fd, nil, 0, 0, fsyncDataSync, tag)
}

// Poll prepares one wait until fd is readable; false: the ring is full.
func (r *Ring) Poll(fd int, tag uint64) bool {
	return r.prepare(opPollAdd, fd, nil, 0, 0, unix.POLLIN, tag)
}

// Cancel prepares the cancellation of the outstanding operation with the tag target; false: the
// ring is full. That operation completes by itself in any case, with -ECANCELED if this came in
// time.
func (r *Ring) Cancel(target, tag uint64) bool {
	e := r.next()
	if e == nil {
		return false
	}
	*e = sqe{opcode: opAsyncCancel, fd: -1, addr: target, userData: tag}
	return true
}

// Nop prepares an operation that does nothing; false: the ring is full.
func (r *Ring) Nop(tag uint64) bool {
	return r.prepare(opNop, -1, nil, 0, 0, 0, tag)
}

func (r *Ring) prepare(op uint8, fd int, p unsafe.Pointer, n uint32, off uint64, flags uint32,
	tag uint64) bool {
	e := r.next()
	if e == nil {
		return false
	}
	r.held = p
	*e = sqe{
		opcode: op, fd: int32(fd), off: off,
		addr: uint64(uintptr(p)), len: n, opFlags: flags, userData: tag,
	}
	return true
}

// next is the entry to fill, nil when the ring is full.
func (r *Ring) next() *sqe {
	if r.unsubmitted() == uint32(len(r.sqes)) || r.outstanding == uint32(len(r.cqes)) {
		return nil
	}
	e := &r.sqes[r.tail&r.sqMask]
	r.tail++
	r.outstanding++
	return e
}
