package vhostuser

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// The inflight region tells a backend that takes over from a dead one which chains were in
// work (vhost-user specification, "Inflight I/O tracking"). The front end keeps it; only
// backends write it. It holds a piece per queue, a header and an entry per descriptor, as
// the C structures of the specification lay them out.
//
// Its words are written by plain stores in the order that the specification gives. Against
// the death of a process that is enough: a store that was executed stays.
const (
	inflightVersion = uint16(1) // 0 is a fresh region
	inflightAlign   = 64        // of each queue's piece, as libvhost-user has it

	flightVersionOff = 8 // both headers begin {features u64, version u16, desc_num u16}
	flightNumOff     = 10
)

// inflight is the mapped inflight region of a device.
type inflight struct {
	m         *mapping
	bytes     []byte
	queues    int
	queueSize int // entries of each queue, at least as many as its ring has descriptors
	packed    bool
}

// newInflight makes a fresh region in a memfd. The descriptor is the caller's to send and
// close.
func newInflight(queues, queueSize int, packed bool) (f *inflight, fd int, size uint64, err error) {
	if err := checkCounts(queues, queueSize); err != nil {
		return nil, -1, 0, err
	}
	size = uint64(queues * pieceLen(queueSize, packed))
	fd, err = unix.MemfdCreate("inflight", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, -1, 0, fmt.Errorf("inflight memfd: %w", err)
	}
	if err := growSealed(fd, int64(size)); err != nil {
		_ = unix.Close(fd)
		return nil, -1, 0, err
	}
	f, err = mapInflight(fd, size, 0, queues, queueSize, packed)
	if err != nil {
		_ = unix.Close(fd)
		return nil, -1, 0, err
	}
	return f, fd, size, nil
}

// growSealed gives a memfd its size, for good.
func growSealed(fd int, size int64) error {
	if err := unix.Ftruncate(fd, size); err != nil {
		return fmt.Errorf("inflight memfd of %d bytes: %w", size, err)
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal inflight memfd: %w", err)
	}
	return nil
}

// mapInflight maps a region that the front end kept. The descriptor stays the caller's.
func mapInflight(fd int, size, offset uint64, queues, queueSize int, packed bool) (*inflight, error) {
	if err := checkCounts(queues, queueSize); err != nil {
		return nil, err
	}
	if need := uint64(queues * pieceLen(queueSize, packed)); size < need {
		return nil, &RegionError{What: "inflight region", Offset: offset, Size: size,
			Err: fmt.Errorf("needs %d bytes: %w", need, ErrFault)}
	}
	if !within(offset, size, maxShared) {
		return nil, &RegionError{What: "inflight region", Offset: offset, Size: size, Err: ErrLimit}
	}
	m, err := mapFile("inflight region", fd, offset, size)
	if err != nil {
		return nil, err
	}
	f := &inflight{m: m, queues: queues, queueSize: queueSize, packed: packed}
	f.bytes = m.bytes[offset:][:size:size]
	return f, nil
}

func checkCounts(queues, queueSize int) error {
	if queues < 1 || queues > maxQueues || queueSize < 1 || queueSize > maxRingSize {
		return &RegionError{What: "inflight region", Offset: uint64(queues), Size: uint64(queueSize),
			Err: fmt.Errorf("%d queues of %d: %w", queues, queueSize, ErrLimit)}
	}
	return nil
}

// pieceLen is the length of one queue's piece.
func pieceLen(queueSize int, packed bool) int {
	n := splitHeaderLen + splitEntryLen*queueSize
	if packed {
		n = packedHeaderLen + packedEntryLen*queueSize
	}
	return (n + inflightAlign - 1) &^ (inflightAlign - 1)
}

// clear makes a queue's piece fresh, after a drained stop: the next start takes its position
// from SET_VRING_BASE, even if that is another machine's (a COLO secondary's). The queue it
// belonged to is not used again. nil-safe.
func (f *inflight) clear(queue int) {
	if f == nil || queue >= f.queues {
		return
	}
	var err error // a region that vanished needs no clearing
	defer recoverFault(debug.SetPanicOnFault(true), f, &err)
	clear(f.piece(queue))
}

// close unmaps the region: no queue may hold it any more. nil-safe.
func (f *inflight) close() {
	if f != nil {
		f.m.unmap()
	}
}

func (f *inflight) owns(addr uintptr) bool { return f != nil && f.m.contains(addr) }

func (f *inflight) piece(queue int) []byte {
	n := pieceLen(f.queueSize, f.packed)
	return f.bytes[queue*n:][:n:n]
}

// trackOf finds a queue's piece for a ring; nil without a region.
func (f *inflight) trackOf(c ringConfig) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	if c.index >= f.queues || int(c.size) > f.queueSize || c.packed != f.packed {
		return nil, c.fail("inflight entries", uint64(f.queueSize), ErrInflight)
	}
	return f.piece(c.index), nil
}

// checkFlight reads the header's version and size: fresh, ours, or an error.
func checkFlight(b []byte, num int) (fresh bool, err error) {
	version, have := get16(b, flightVersionOff), get16(b, flightNumOff)
	switch {
	case version == 0:
		return true, nil
	case version != inflightVersion:
		return false, fmt.Errorf("version %d: %w", version, ErrInflightVer)
	case int(have) != num:
		return false, fmt.Errorf("%d entries, want %d: %w", have, num, ErrInflight)
	}
	return false, nil
}

func get16(b []byte, off int) uint16    { return binary.LittleEndian.Uint16(b[off:]) }
func get32(b []byte, off int) uint32    { return binary.LittleEndian.Uint32(b[off:]) }
func get64(b []byte, off int) uint64    { return binary.LittleEndian.Uint64(b[off:]) }
func put16(b []byte, off int, v uint16) { binary.LittleEndian.PutUint16(b[off:], v) }
func put64(b []byte, off int, v uint64) { binary.LittleEndian.PutUint64(b[off:], v) }
