// Package bio holds the few words that a virtual device and a store share: what a block
// request is, and who moves its data.
//
// A device (package blk) fills Requests and submits them to a Lane; a store (package
// checkpoint) implements Lane and moves data through an Engine, which belongs to the device's
// worker (package internal/aio). Device and store do not know each other; both know this page.
//
// Everything here belongs to one worker thread: a Lane, its Engine and its Requests are
// never used by two goroutines at once, except where a method says so.
package bio

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// SectorSize is the unit of a request's offset and length, in bytes.
	SectorSize = 512
	// BlockSize is the unit in which stores map a disk, in bytes.
	BlockSize = 4096
)

// Op is what a request asks for.
type Op uint8

// The operations of a block device.
const (
	Read Op = iota + 1
	Write
	Flush
	Discard
	WriteZeroes
)

// Errors that a Lane puts into Request.Err. Others wrap the cause found in the store.
var (
	// ErrRange marks a request that is misaligned or leaves the disk.
	ErrRange = errors.New("request outside the disk")
	// ErrReadOnly marks a change to a disk that is served read-only.
	ErrReadOnly = errors.New("disk is read-only")
	// ErrFault marks guest memory that could not be read or written.
	ErrFault = errors.New("guest memory cannot be accessed")
	// ErrNoSpace marks a write that found no free place.
	ErrNoSpace = errors.New("no space left in the store")
)

// Request is one request on its way through a store. The device owns it and keeps it, and
// the memory its vectors point to, unchanged until the Lane reports it done.
type Request struct {
	Op  Op
	Off int64 // first byte, a multiple of SectorSize; 0 for Flush
	Len int64 // bytes, a multiple of SectorSize; 0 for Flush

	// Iov is the data of a Read or Write: any number of pieces, of any length and
	// alignment, Len bytes in all. Nil for the other operations.
	Iov []unix.Iovec

	// Err is nil or why the request failed; valid once the request is reported done.
	Err error

	// Tag is the request's place in the device's fixed table: below the depth given to
	// NewLane and unique among the requests in flight.
	Tag uint32

	Times
}

// Times is what a Lane tells of a request's way, for those who trace. The device clears it; when a
// request is submitted again, as the next part of the same one, the Lane goes on counting. A Lane
// that tells nothing leaves it alone. Times are nanoseconds of CLOCK_MONOTONIC.
type Times struct {
	Handed    uint64 // when its first operation was handed to the disk below
	Completed uint64 // when its last operation was done
	Device    uint64 // for how long at least one operation was with the disk below
	Epoch     uint64 // the store's open epoch when the request was finished
}

// Lane is one worker's way into a store.
//
// The worker calls Submit for each request of a batch, then Dispatch; it hands every engine
// completion that carries a lane tag to Complete, and calls Wake when WakeFD was readable;
// after a round of those it calls Settle, which returns the requests that are finished.
// Settle makes their effect survive the death of the process before it returns.
type Lane interface {
	Submit(r *Request)
	Dispatch()
	Complete(tag uint64, res int32)
	Wake()
	Settle(done []*Request) []*Request

	// InFlight is the number of requests submitted and not yet returned by Settle.
	InFlight() int
	// WakeFD is an eventfd that the store writes when the lane has work to pick up. The
	// worker reads it (an Engine's Watch does) and then calls Wake.
	WakeFD() int
	// Close releases the lane; no request may be in flight.
	Close() error
}

// Engine moves data asynchronously for the thread that owns it.
type Engine interface {
	// Readv and Writev queue one operation at byte offset off of file descriptor fd. The
	// vectors, at most MaxVectors of them, stay valid and unchanged until the completion,
	// which carries tag and either the number of bytes moved or a negative errno.
	Readv(fd int, iov []unix.Iovec, off int64, tag uint64)
	Writev(fd int, iov []unix.Iovec, off int64, tag uint64)
	// Fdatasync queues making durable what was written to fd before: by operations that are complete
	// now, not by those in flight. Its completion carries 0 or a negative errno.
	Fdatasync(fd int, tag uint64)
}

// MaxVectors is the most vectors one engine operation takes (Linux's IOV_MAX).
const MaxVectors = 1024

// LaneTag marks the tags that belong to a Lane: its operations have this bit set, the
// worker's own (kick, stop, wake) have it clear.
const LaneTag = uint64(1) << 63
