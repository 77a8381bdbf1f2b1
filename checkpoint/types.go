package checkpoint

import "github.com/belay-vm/belay/internal/bio"

// blockSize is the unit of mapping and of placement, in bytes.
const blockSize = bio.BlockSize

// block is the index of a 4 KiB block of the guest's disk.
type block uint64

// slot is the index of a 4 KiB place in the data area.
type slot uint64

// sequence orders everything that enters the journal; the first record has 1.
type sequence uint64

// epoch numbers the stretches between points, from 1. Point p closes epoch p, so the state at
// point p holds the writes of every epoch up to and including p.
type epoch uint32

// line numbers the branches of a store's history; a new one begins at every rollback.
type line uint32

// generation is the fencing number that a takeover raises.
type generation uint64

// Limits of format version 1.
const (
	maxSlots   = 1<<36 - 2 // slots of a data area: 256 TiB
	maxEpoch   = 1<<28 - 1 // epochs in a store's life
	maxDisk    = 64 << 40  // bytes of a guest's disk
	pageSize   = 4096      // bytes of a page in the map file
	sectorSize = bio.SectorSize
)

// Slots that name no place.
const (
	slotZero slot = 1<<36 - 1 // the block reads as zeroes
	slotNone slot = 1<<36 - 2 // the block was never written: base, or zeroes
)

// entry is one element of the block map: a slot in the upper 36 bits and the epoch of its
// birth in the lower 28. Zero is a block that was never written.
type entry uint64

func newEntry(s slot, birth epoch) entry { return entry(s)<<28 | entry(birth) }

// slot returns the entry's place; slotNone for a block never written.
func (e entry) slot() slot {
	if e == 0 {
		return slotNone
	}
	return slot(e >> 28)
}

func (e entry) birth() epoch { return epoch(e & maxEpoch) }

// placed reports whether the entry names a place in the data area. (A block that a rollback
// returned to "never written" has slotNone and a birth, so this is not only zero.)
func (e entry) placed() bool { return e.slot() < slotNone }

// at returns the entry of the block i places behind one with entry e in a run.
func (e entry) at(i uint64) entry {
	if !e.placed() {
		return e
	}
	return e + entry(i)<<28
}

// extent is a run of n slots from first.
type extent struct {
	first slot
	n     uint64
}

// death is a death record: n blocks from block lay in n slots from slot (or in no place) from
// epoch birth until epoch death, on line.
type death struct {
	block block
	slot  slot
	n     uint32
	birth epoch
	death epoch
	line  line
}

// holds reports whether the state at point p contains what the record describes.
func (d death) holds(p epoch) bool { return d.birth <= p && p < d.death }

// ref names a page of the map file: its number, the snapshot that wrote it and its checksum.
// Page 0 is never used, so the zero ref is no page.
type ref struct {
	page uint64
	gen  uint32
	crc  uint32
}
