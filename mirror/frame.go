package mirror

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kind is what a frame says. Zero is no kind.
type Kind uint8

// The kinds of version 1, in the order of docs/MIRROR.md.
const (
	kindWelcome Kind = 1 + iota
	kindRefuse
	kindPing
	kindCredit
	kindGiveUp
	kindHandOver
	kindLeave
	kindData
	kindSeal
	kindAck
	kindRingStart
	kindStartAck
	kindReport
	kindShutdown
	kindShutdownAck
	kindRenew
	kindRenewed
	kindSyncBegin
	kindSyncHave
	kindSyncData
	kindSyncEnd
	kindSyncDone
	kindVerify
	kindSums
	kindDamaged
	kinds // their number, and one
)

// sender says from which side a kind of frame may come.
type sender uint8

const (
	fromPrimary sender = 1 << iota
	fromSecondary
	fromBoth = fromPrimary | fromSecondary
)

// row is what is known of a kind before its content is looked at.
type row struct {
	name      string
	from      sender
	handshake bool // belongs before the session, not into it
	ofDisk    bool // the header names a disk; otherwise it names 0
	least     int  // bytes of meta data
	most      int
	bulk      bool // extents, and their content
}

var rows = [kinds]row{
	kindWelcome:     {name: "WELCOME", from: fromBoth, handshake: true},
	kindRefuse:      {name: "REFUSE", from: fromBoth, handshake: true, least: 2, most: 2 + maxText},
	kindPing:        {name: "PING", from: fromBoth},
	kindCredit:      {name: "CREDIT", from: fromSecondary, least: 8, most: 8},
	kindGiveUp:      {name: "GIVE UP", from: fromPrimary, least: 2, most: 2 + maxText},
	kindHandOver:    {name: "HAND OVER", from: fromPrimary, least: 2, most: 2 + maxText},
	kindLeave:       {name: "LEAVE", from: fromSecondary, least: 2, most: 2 + maxText},
	kindData:        {name: "DATA", from: fromPrimary, ofDisk: true, least: dataMeta, most: maxMeta, bulk: true},
	kindSeal:        {name: "SEAL", from: fromPrimary, least: 11, most: maxMeta},
	kindAck:         {name: "ACK", from: fromSecondary, least: 8, most: 8},
	kindRingStart:   {name: "RING START", from: fromPrimary, least: 8, most: 8},
	kindStartAck:    {name: "START ACK", from: fromSecondary, least: 8, most: 8},
	kindReport:      {name: "REPORT", from: fromSecondary, least: 16, most: 16},
	kindShutdown:    {name: "SHUTDOWN", from: fromPrimary, least: 1, most: 1},
	kindShutdownAck: {name: "SHUTDOWN ACK", from: fromSecondary},
	kindRenew:       {name: "RENEW", from: fromPrimary, least: 16, most: 16},
	kindRenewed:     {name: "RENEWED", from: fromSecondary, least: 8, most: 8},
	kindSyncBegin:   {name: "SYNC BEGIN", from: fromPrimary, ofDisk: true, least: 48, most: 48},
	kindSyncHave: {name: "SYNC HAVE", from: fromSecondary, ofDisk: true,
		least: 16, most: 16 + 16*maxRanges},
	kindSyncData: {name: "SYNC DATA", from: fromPrimary, ofDisk: true,
		least: syncMeta, most: maxMeta, bulk: true},
	kindSyncEnd:  {name: "SYNC END", from: fromPrimary, ofDisk: true, least: 24, most: 24},
	kindSyncDone: {name: "SYNC DONE", from: fromSecondary, ofDisk: true, least: 25, most: 25},
	kindVerify:   {name: "VERIFY", from: fromPrimary, ofDisk: true, least: 40, most: 40},
	kindSums:     {name: "SUMS", from: fromSecondary, ofDisk: true, least: 6, most: 6 + maxSums*sumLen},
	kindDamaged:  {name: "DAMAGED", from: fromSecondary, ofDisk: true, least: 16, most: 16},
}

func (k Kind) String() string {
	if k > 0 && k < kinds {
		return rows[k].name
	}
	return fmt.Sprintf("frame of kind %d", uint8(k))
}

// Limits of version 1. Everything a peer counts is compared with one of them before memory is
// taken for it.
const (
	headerLen  = 32
	maxMeta    = 64 << 10 // bytes of a frame beside its content
	maxBulk    = 1 << 20  // bytes of content in a frame
	maxText    = 512      // bytes of a reason given to people
	maxExtents = 1024     // extents in a frame
	maxRanges  = 4000     // ranges that a secondary may have of a synchronisation
	maxSums    = 256      // checksums in an answer
	maxRings   = 2048     // rings of a machine
	maxDisks   = 64
)

// magic begins every frame: "BMIR".
const magic = 0x5249_4d42

// Salts begin the checksums, another one for each structure.
const (
	saltFrame = 0x464d_5242
	saltHello = 0x484d_5242
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C that protects contents on their way.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// header begins a frame; meta data and content follow. Its place in a frame:
//
//	0  u32 magic          8  u32 bytes of meta     16 u64 generation
//	4  u8  kind          12  u32 bytes of content  24 u32 sequence number
//	5  u8  zero                                    28 u32 checksum: header and meta
//	6  u16 disk
type header struct {
	kind       Kind
	disk       uint16
	meta       uint32
	bulk       uint32
	generation uint64
	seq        uint32
}

// encode puts a header and the checksum over it and meta at the beginning of raw.
func (h header) encode(raw []byte, meta []byte) {
	le := binary.LittleEndian
	le.PutUint32(raw, magic)
	raw[4], raw[5] = uint8(h.kind), 0
	le.PutUint16(raw[6:], h.disk)
	le.PutUint32(raw[8:], h.meta)
	le.PutUint32(raw[12:], h.bulk)
	le.PutUint64(raw[16:], h.generation)
	le.PutUint32(raw[24:], h.seq)
	le.PutUint32(raw[28:], frameSum(raw, meta))
}

func frameSum(raw, meta []byte) uint32 {
	return crc32.Update(crc32.Update(saltFrame, castagnoli, raw[:28]), castagnoli, meta)
}

// decodeHeader judges a header as far as that goes without the meta data.
func decodeHeader(raw []byte) (header, error) {
	le := binary.LittleEndian
	h := header{
		kind:       Kind(raw[4]),
		disk:       le.Uint16(raw[6:]),
		meta:       le.Uint32(raw[8:]),
		bulk:       le.Uint32(raw[12:]),
		generation: le.Uint64(raw[16:]),
		seq:        le.Uint32(raw[24:]),
	}
	if m := le.Uint32(raw); m != magic {
		return h, &FrameError{h.kind, "magic", uint64(m), ErrFormat}
	}
	if h.kind == 0 || h.kind >= kinds {
		return h, &FrameError{h.kind, "", 0, ErrFormat}
	}
	return h, h.check(raw[5])
}

func (h header) check(reserved byte) error {
	r := &rows[h.kind]
	switch {
	case reserved != 0:
		return h.bad("reserved byte", uint64(reserved))
	case int64(h.meta) < int64(r.least) || int64(h.meta) > int64(r.most):
		return h.bad("length", uint64(h.meta))
	case !r.bulk && h.bulk != 0 || h.bulk > maxBulk:
		return h.bad("content length", uint64(h.bulk))
	case !r.ofDisk && h.disk != 0 || h.disk >= maxDisks:
		return h.bad("disk", uint64(h.disk))
	}
	return nil
}

func (h header) bad(field string, value uint64) error {
	return &FrameError{h.kind, field, value, ErrFormat}
}

// size is what the frame weighs in flight.
func (h header) size() int { return headerLen + int(h.meta) + int(h.bulk) }
