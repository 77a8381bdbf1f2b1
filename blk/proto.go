package blk

import "encoding/binary"

// Feature bits (virtio 1.2, section 5.2.3).
const (
	featSizeMax     = uint64(1) << 1
	featSegMax      = uint64(1) << 2
	featRO          = uint64(1) << 5
	featBlkSize     = uint64(1) << 6
	featFlush       = uint64(1) << 9
	featTopology    = uint64(1) << 10
	featConfigWCE   = uint64(1) << 11
	featMQ          = uint64(1) << 12
	featDiscard     = uint64(1) << 13
	featWriteZeroes = uint64(1) << 14
)

// Request types (section 5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status is the byte that ends a request (section 5.2.6).
type Status byte

// The statuses.
const (
	StatusOK          Status = 0
	StatusIOError     Status = 1
	StatusUnsupported Status = 2
)

const (
	headerSize = 16 // type u32, reserved u32, sector u64
	rangeSize  = 16 // sector u64, sectors u32, flags u32
	statusSize = 1
	// SerialSize is the most bytes that the answer to GET_ID holds.
	SerialSize = 20

	// flagUnmap allows a write-zeroes request to give the space up; all other bits are reserved.
	flagUnmap = uint32(1)
)

const (
	configSize      = 60 // up to and without the fields of secure erase
	writebackOffset = 32
)

// config is struct virtio_blk_config (section 5.2.4) with the fields that the device has. Its
// geometry, and what belongs to features never offered, read as zero.
type config struct {
	capacity         uint64 // sectors
	sizeMax, segMax  uint32 // bytes of a piece; pieces of a request
	blkSize          uint32 // logical, bytes
	physicalExp      uint8  // log2 of logical blocks per physical one
	minIO            uint16 // logical blocks
	optIO            uint32
	writeback        bool
	queues           uint16
	discardSectors   uint32
	discardRanges    uint32
	discardAlignment uint32 // sectors
	zeroesSectors    uint32
	zeroesRanges     uint32
	zeroesMayUnmap   bool
}

func (c *config) encode() (p [configSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(p[0:], c.capacity)
	le.PutUint32(p[8:], c.sizeMax)
	le.PutUint32(p[12:], c.segMax)
	le.PutUint32(p[20:], c.blkSize)
	p[24] = c.physicalExp
	le.PutUint16(p[26:], c.minIO)
	le.PutUint32(p[28:], c.optIO)
	p[writebackOffset] = byteOf(c.writeback)
	le.PutUint16(p[34:], c.queues)
	le.PutUint32(p[36:], c.discardSectors)
	le.PutUint32(p[40:], c.discardRanges)
	le.PutUint32(p[44:], c.discardAlignment)
	le.PutUint32(p[48:], c.zeroesSectors)
	le.PutUint32(p[52:], c.zeroesRanges)
	p[56] = byteOf(c.zeroesMayUnmap)
	return p
}

func byteOf(b bool) byte {
	if b {
		return 1
	}
	return 0
}
