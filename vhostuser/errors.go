package vhostuser

import (
	"errors"
	"fmt"
)

// Causes that the typed errors of this package wrap.
var (
	// ErrFault marks shared memory that vanished under its mapping: its file was truncated.
	ErrFault = errors.New("memory file is shorter than its mapping")
	// ErrNotMemory marks a descriptor that is no memory file.
	ErrNotMemory = errors.New("not a regular file")
	// ErrUnmapped marks an address range that lies in no memory region.
	ErrUnmapped = errors.New("outside guest memory")
	// ErrAlignment marks a ring part whose address is not aligned as virtio demands.
	ErrAlignment = errors.New("misaligned")
	// ErrLimit marks a length or count above a named limit.
	ErrLimit = errors.New("above the limit")
	// ErrOverlap marks a memory region that overlaps one already in the table.
	ErrOverlap = errors.New("overlaps another region")
)

// RingError says that a ring cannot be served any further: it is the guest's, or the front
// end's, own damage, and nothing but a new start of the ring repairs it.
type RingError struct {
	Queue int
	What  string // the field that is wrong
	Value uint64 // what was found in it
	Err   error  // why it is wrong
}

func (e *RingError) Error() string {
	return fmt.Sprintf("queue %d: %s %#x: %v", e.Queue, e.What, e.Value, e.Err)
}

func (e *RingError) Unwrap() error { return e.Err }

// Why a ring is refused or broken; wrapped by RingError.
var (
	ErrRingSize    = errors.New("want 1 to 32768, a power of two for a split ring")
	ErrRingIndex   = errors.New("outside the ring")
	ErrRingTwice   = errors.New("made available a second time")
	ErrNotTaken    = errors.New("completed, but not taken")
	ErrInflight    = errors.New("not as this device left it")
	ErrInflightVer = errors.New("unknown version")
)

// Why a chain is malformed; wrapped by ChainError.
var (
	ErrChainLoop     = errors.New("chain is longer than the ring")
	ErrChainNext     = errors.New("next descriptor is outside the table")
	ErrChainOrder    = errors.New("readable descriptor behind a writable one")
	ErrChainTotal    = errors.New("chain exceeds 2^32-1 bytes")
	ErrChainPieces   = errors.New("chain has too many pieces")
	ErrIndirectOff   = errors.New("indirect descriptors were not negotiated")
	ErrIndirectNest  = errors.New("indirect table inside an indirect table")
	ErrIndirectChain = errors.New("indirect descriptor with a next descriptor")
	ErrIndirectSize  = errors.New("indirect table is empty, too long or not a multiple of 16 bytes")
)

// ChainError says that one chain is malformed. The ring goes on: the device completes the
// chain with nothing written.
type ChainError struct {
	Head  uint16 // of the chain
	Index int    // which descriptor of the chain, counted from 0 in the order of the walk
	Value uint64 // the address, length or index that is wrong
	Err   error
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("chain %d: descriptor %d: %#x: %v", e.Head, e.Index, e.Value, e.Err)
}

func (e *ChainError) Unwrap() error { return e.Err }

// RegionError says why a file cannot be mapped: guest memory, dirty log or inflight region.
type RegionError struct {
	What         string // the kind of memory
	Offset, Size uint64 // in its file, or the guest address and size
	Err          error
}

func (e *RegionError) Error() string {
	return fmt.Sprintf("%s at %#x of %#x bytes: %v", e.What, e.Offset, e.Size, e.Err)
}

func (e *RegionError) Unwrap() error { return e.Err }

// FaultError is an access to shared memory that vanished, and where.
type FaultError struct {
	Address uintptr // in this process
}

func (e *FaultError) Error() string { return fmt.Sprintf("address %#x: %v", e.Address, ErrFault) }

func (e *FaultError) Unwrap() error { return ErrFault }
