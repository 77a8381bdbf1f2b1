package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/colo"
)

// Side is the program beside a QEMU: the model in this package, or a real one that is brought along. Its
// methods are called one at a time, by the world.
type Side interface {
	// Take gives it an event of QEMU, the front end, the operator or the disk.
	Take(e colo.Event)
	// Execute brings a request to the disk. Before that it compares the disk with what the guest's memory
	// says of it; the error tells the difference, or is ErrDisk: the disk failed, and the side knows.
	Execute(r Request, m Expected) error
	// Show calls tell when the guest may see that a request is done, if ever.
	Show(tell func())
	// Meet has a primary look for the secondary that is there now. It says whether it does so at once.
	Meet() bool
	// Lose says that the other side is not heard any more. Who finds that out by itself does nothing.
	Lose(cause string)
	// Die ends the process, with power the whole host.
	Die(power bool)
	// State is what has become of it.
	State() State
}

// ErrDisk is for a request that is held, because the disk failed.
var ErrDisk = errors.New("the disk failed")

// State is what the world asks of a side.
type State struct {
	Protected bool // a primary whose partner could take over
	Alone     bool // a primary without a partner, that can have a new one
	Stopped   bool // it executes nothing any more
	Poisoned  bool // it must execute nothing
	Bound     bool // its QEMU must not outlive it
	Shows     bool // it may still show its guest something
	Text      string
}

// Request is what a guest wants of a disk.
type Request struct {
	Disk  int
	Block int
	Tag   uint64 // no other request has it; a write writes what Shows says of it
	Flush bool
}

// Expected is what a guest's memory says of a disk.
type Expected struct {
	Sum    uint64                  // over all writes that must have reached the disk
	Blocks [Blocks]uint64          // the newest completed write of each block; 0: none
	Doing  map[int]map[uint64]bool // of a block, the write under way; true: it reached the disk
	Either map[int]uint64          // of a block, one that an earlier process may have brought there
}

// Match compares a disk, block by block, with what its guest knows of it.
func (m Expected) Match(tags [Blocks]uint64) error {
	for b, got := range tags {
		if tag, ok := m.Either[b]; ok && got == Shows(tag) {
			continue
		}
		want := m.Blocks[b]
		for tag, done := range m.Doing[b] {
			if done {
				want = tag
			}
		}
		if got != Shows(want) {
			return fmt.Errorf("block %d holds %x, not %x", b, got, Shows(want))
		}
	}
	return nil
}

// Sides brings sides along.
type Sides interface {
	// New makes a side on the disk of another one that is dead, or on an empty one if that is nil.
	New(h *Host, secondary bool, disk Side) Side
	// Cold starts one as a primary after both had died, or says why that one may not serve.
	Cold(h *Host, disk Side) (Side, error)
	// Content is what a disk of a side holds now, by block.
	Content(s Side, disk int) ([Blocks]uint64, error)
	// Winner says whether the witness gave the newest generation to a side.
	Winner(s Side) bool
	// Sleep lets the world's time pass up to a moment, or until poke receives something, and waits until
	// everybody is at rest. It returns the time.
	Sleep(until time.Duration, poke <-chan struct{}) time.Duration
}
