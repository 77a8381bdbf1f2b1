package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// intentNumber counts the intents of an incarnation of the journal, from 1.
type intentNumber uint64

// intentRing is where an incarnation writes its intents: number n into slot n modulo the length.
// The key is random and drawn for the incarnation, so that nothing that lay in those slots before,
// not even what a guest wrote there, is taken for an intent of it.
type intentRing struct {
	key uint64
	extent
}

const maxRing = 4096 // slots

// valid reports whether a ring read from a header can be one, or is none.
func (r intentRing) valid() bool { return r.n <= maxRing && uint64(r.first) <= maxSlots-r.n }

// at returns the slot of an intent.
func (r intentRing) at(n intentNumber) slot { return r.first + slot(uint64(n)%r.n) }

// intent says what a batch of writes is about to do: what its journal record will say, and the
// checksum of each block. It is written beside the data. When both are on the disk, the batch can
// be recovered though its record is not (recall.go).
type intent struct {
	number      intentNumber
	incarnation uint32
	line        line
	epoch       epoch
	places      []placement // all of them in slots
	sums        []uint32    // one for each block, in order
}

// An intent is a block of the data area: a head, the payload of a write record, zeroes.
const (
	intentLen = blockSize

	inID         = 16
	inKey        = 32
	inNumber     = 40
	inIncarn     = 48
	inLine       = 52
	inEpoch      = 56
	inPayload    = 60 // its length
	intentHead   = 64
	intentRoom   = intentLen - intentHead
	intentBlocks = 16 // the most that one of ours names; more would fit
)

// encode fills p, intentLen bytes.
func (i *intent) encode(p []byte, id [16]byte, key uint64) {
	le := binary.LittleEndian
	n := writePayload(len(i.places), len(i.sums))
	copy(p[inID:], id[:])
	le.PutUint64(p[inKey:], key)
	le.PutUint64(p[inNumber:], uint64(i.number))
	le.PutUint32(p[inIncarn:], i.incarnation)
	le.PutUint32(p[inLine:], uint32(i.line))
	le.PutUint32(p[inEpoch:], uint32(i.epoch))
	le.PutUint32(p[inPayload:], uint32(n))
	encodeWrite(p[intentHead:intentHead+n], i.places, i.sums)
	clear(p[intentHead+n:])
	sealHeader(p, magicIntent, saltIntent)
}

// decodeIntent decodes the block at byte off of the data area. It is an intent only of the volume
// and with the key given.
func decodeIntent(p []byte, off int64, id [16]byte, key uint64) (*intent, error) {
	if len(p) != intentLen {
		return nil, corrupt(dataName, off, "length of an intent", len(p), intentLen)
	}
	if err := checkHeader(p, dataName, off, magicIntent, saltIntent); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if found := le.Uint64(p[inKey:]); [16]byte(p[inID:inKey]) != id || found != key {
		return nil, corrupt(dataName, off+inID, "volume and key of an intent",
			fmt.Sprintf("%x %x", p[inID:inKey], found), fmt.Sprintf("%x %x", id, key))
	}
	n := le.Uint32(p[inPayload:])
	if n > intentRoom {
		return nil, corrupt(dataName, off+inPayload, "length of an intent's payload", n, intentRoom)
	}
	places, sums, err := decodeWrite(p[intentHead:intentHead+n], nil, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: byte %d: %w", dataName, off+intentHead, err)
	}
	i := &intent{
		number: intentNumber(le.Uint64(p[inNumber:])), incarnation: le.Uint32(p[inIncarn:]),
		line: line(le.Uint32(p[inLine:])), epoch: epoch(le.Uint32(p[inEpoch:])), places: places, sums: sums,
	}
	if err := i.validate(off); err != nil {
		return nil, err
	}
	return i, checkZero(p[intentHead+n:], dataName, off+intentHead+int64(n))
}

// validate judges what the checksum and the payload's decoder do not.
func (i *intent) validate(off int64) error {
	var blocks uint64
	for _, p := range i.places {
		if p.slot == slotZero {
			return corrupt(dataName, off+intentHead, "place of blocks", p.slot, "slots")
		}
		blocks += p.n
	}
	if i.number == 0 || blocks != uint64(len(i.sums)) {
		return corrupt(dataName, off+inNumber, "number and checksums of an intent",
			fmt.Sprint(i.number, ", ", len(i.sums)), fmt.Sprint("at least 1, ", blocks))
	}
	return nil
}
