package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Lengths of journal records, in bytes.
const (
	recordHead  = 48
	maxRecord   = 16 << 10 // header and payload
	maxPayload  = maxRecord - recordHead
	writeHead   = 8 // of a write record's payload
	writeEntry  = 24
	startHead   = 16
	rollbackLen = 32
	sweepLen    = 16
	wordLen     = 8 // payload of proven, retire, delete and resize
	maxBlock    = maxDisk / blockSize
)

// position is a logical place in the journal: bytes appended since the volume was created. Its
// remainder by the area's length is the place in the area. A multiple of 8.
type position uint64

// recordKind says what a journal record tells. Zero is none.
type recordKind uint16

// The kinds of journal records.
const (
	recordWrite recordKind = iota + 1
	recordProven
	recordStart
	recordRetire
	recordDelete
	recordSweep
	recordRollback
	recordResize
	recordPad
	recordStage
	recordLoad
)

var recordNames = [...]string{
	"none", "write", "proven", "start", "retire", "delete", "sweep", "rollback", "resize", "pad",
	"stage", "load",
}

func (k recordKind) String() string {
	if int(k) < len(recordNames) {
		return recordNames[k]
	}
	return fmt.Sprint("kind ", uint16(k))
}

// recordHeader is the head of a journal record. Records that the journal writes for itself
// (proven, pad) have sequence, line and epoch zero.
type recordHeader struct {
	length      uint32 // header and payload, a multiple of 8
	pos         position
	seq         sequence
	incarnation uint32
	kind        recordKind
	line        line
	epoch       epoch
}

// encode writes the header in front of the payload that p already holds, and returns the
// record's checksum, which is the chain value for the next. p is the whole record.
func (h *recordHeader) encode(p []byte, chain uint32) uint32 {
	le := binary.LittleEndian
	le.PutUint32(p[4:], h.length)
	le.PutUint64(p[8:], uint64(h.pos))
	le.PutUint64(p[16:], uint64(h.seq))
	le.PutUint32(p[24:], h.incarnation)
	le.PutUint16(p[28:], uint16(h.kind))
	le.PutUint16(p[30:], 0)
	le.PutUint32(p[32:], uint32(h.line))
	le.PutUint32(p[36:], uint32(h.epoch))
	le.PutUint64(p[40:], 0)
	crc := crc32.Update(chain, castagnoli, p[4:h.length])
	le.PutUint32(p, crc)
	return crc
}

// decodeRecordHeader takes the fields apart; length is judged, because the checksum cannot be
// computed without it. ok is false where no record of this position begins.
func decodeRecordHeader(p []byte, at position) (h recordHeader, ok bool) {
	le := binary.LittleEndian
	h = recordHeader{
		length:      le.Uint32(p[4:]),
		pos:         position(le.Uint64(p[8:])),
		seq:         sequence(le.Uint64(p[16:])),
		incarnation: le.Uint32(p[24:]),
		kind:        recordKind(le.Uint16(p[28:])),
		line:        line(le.Uint32(p[32:])),
		epoch:       epoch(le.Uint32(p[36:])),
	}
	ok = h.length >= recordHead && h.length <= maxRecord && h.length%8 == 0 && h.pos == at
	return h, ok
}

// recordSum returns the checksum that a record holds and the one that it should hold.
func recordSum(p []byte, chain uint32) (found, want uint32) {
	return binary.LittleEndian.Uint32(p), crc32.Update(chain, castagnoli, p[4:])
}

// validate judges a record whose checksum holds: it was written so, therefore whatever is wrong
// with it was not caused by a crash. off is its place in the file.
func (h *recordHeader) validate(p []byte, off int64) error {
	if h.kind == 0 || h.kind > recordLoad {
		return corrupt(journalName, off+28, "kind of a record", uint16(h.kind), "1 to 11")
	}
	if err := checkZero(p[30:32], journalName, off+30); err != nil {
		return err
	}
	if err := checkZero(p[40:recordHead], journalName, off+40); err != nil {
		return err
	}
	if h.epoch > maxEpoch {
		return corrupt(journalName, off+36, "epoch", h.epoch, "at most 2^28-1")
	}
	own := h.kind == recordProven || h.kind == recordPad
	if own && (h.seq != 0 || h.line != 0 || h.epoch != 0) {
		return corrupt(journalName, off+16, "sequence, line and epoch", h.seq, "zero in a "+h.kind.String())
	}
	return nil
}

// writePayload returns the length of a write record with so many entries and checksums.
func writePayload(entries, sums int) int { return writeHead + writeEntry*entries + roundUp8(4*sums) }

// encodeWrite makes a write record: each placement's blocks now lie in its slots, or read as
// zeroes (slotZero). sums are the checksums of all blocks that lie in slots, in order; none
// in a volume without payload checksums. p has the length that writePayload says.
func encodeWrite(p []byte, places []placement, sums []uint32) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(len(places)))
	le.PutUint32(p[4:], uint32(len(sums)))
	p = p[writeHead:]
	for _, e := range places {
		le.PutUint64(p, uint64(e.block))
		le.PutUint64(p[8:], uint64(e.slot))
		le.PutUint64(p[16:], e.n)
		p = p[writeEntry:]
	}
	for _, v := range sums {
		le.PutUint32(p, v)
		p = p[4:]
	}
	clear(p)
}

// decodeWrite appends what a write record holds to places and sums.
func decodeWrite(p []byte, places []placement, sums []uint32) ([]placement, []uint32, error) {
	if len(p) < writeHead {
		return places, sums, recordError("length of a write record", len(p), "at least 8")
	}
	le := binary.LittleEndian
	n, k := le.Uint32(p), le.Uint32(p[4:])
	if n == 0 || n > maxPayload || k > maxPayload || len(p) != writePayload(int(n), int(k)) {
		return places, sums, recordError("length of a write record", len(p),
			fmt.Sprintf("room for %d entries and %d checksums", n, k))
	}
	var placed uint64
	p = p[writeHead:]
	for range n {
		e := placement{block: block(le.Uint64(p)), slot: slot(le.Uint64(p[8:])), n: le.Uint64(p[16:])}
		if err := e.validate(); err != nil {
			return places, sums, err
		}
		if e.slot != slotZero {
			placed += e.n
		}
		places = append(places, e)
		p = p[writeEntry:]
	}
	if k != 0 && uint64(k) != placed {
		return places, sums, recordError("checksums of a write record", k, placed)
	}
	for range k {
		sums = append(sums, le.Uint32(p))
		p = p[4:]
	}
	if allZero(p) >= 0 {
		return places, sums, recordError("end of a write record", p[len(p)-1], 0)
	}
	return places, sums, nil
}

// validate judges a placement read from a journal.
func (e *placement) validate() error {
	switch {
	case e.n == 0 || e.n > maxBlock || uint64(e.block) > maxBlock-e.n:
		return recordError("blocks of a write record", fmt.Sprintf("%d from %d", e.n, e.block), "a run on the disk")
	case e.slot != slotZero && (e.n > maxSlots || uint64(e.slot) > maxSlots-e.n):
		return recordError("slots of a write record", fmt.Sprintf("%d from %d", e.n, e.slot), "a run, or zeroes")
	}
	return nil
}

// startRecord is the payload of a start record: point id closes the open epoch.
type startRecord struct {
	id    epoch
	flags pointFlags
	time  int64 // nanoseconds since 1970, UTC
	name  string
}

func (r *startRecord) encodedLen() int { return startHead + roundUp8(len(r.name)) }

func (r *startRecord) encode(p []byte) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(r.id))
	le.PutUint16(p[4:], uint16(r.flags))
	le.PutUint16(p[6:], uint16(len(r.name)))
	le.PutUint64(p[8:], uint64(r.time))
	clear(p[startHead:])
	copy(p[startHead:], r.name)
}

func decodeStart(p []byte) (r startRecord, err error) {
	if len(p) < startHead {
		return r, recordError("length of a start record", len(p), "at least 16")
	}
	le := binary.LittleEndian
	n := int(le.Uint16(p[6:]))
	if n > maxName || len(p) != startHead+roundUp8(n) || allZero(p[startHead+n:]) >= 0 {
		return r, recordError("length of a point's name", n, "at most 255, padded with zeroes")
	}
	r = startRecord{
		id: epoch(le.Uint32(p)), flags: pointFlags(le.Uint16(p[4:])), time: int64(le.Uint64(p[8:])),
		name: string(p[startHead : startHead+n]),
	}
	if r.id == 0 || r.id > maxEpoch || r.flags&^pointFlagsKnown != 0 {
		return r, recordError("point of a start record", fmt.Sprintf("%d flags %#x", r.id, r.flags), "known values")
	}
	return r, nil
}

// rollbackRecord is the payload of a rollback record: the state at point to begins a new line;
// the state that was left is point left.
type rollbackRecord struct {
	to, left epoch
	time     int64 // nanoseconds since 1970, UTC
	line     line  // the new one
}

func (r *rollbackRecord) encode(p []byte) {
	le := binary.LittleEndian
	clear(p[:rollbackLen])
	le.PutUint32(p, uint32(r.to))
	le.PutUint32(p[4:], uint32(r.left))
	le.PutUint64(p[8:], uint64(r.time))
	le.PutUint32(p[16:], uint32(r.line))
}

func decodeRollback(p []byte) (r rollbackRecord, err error) {
	if len(p) != rollbackLen || allZero(p[20:]) >= 0 {
		return r, recordError("length of a rollback record", len(p), "32, the end of it zero")
	}
	le := binary.LittleEndian
	r = rollbackRecord{
		to: epoch(le.Uint32(p)), left: epoch(le.Uint32(p[4:])), time: int64(le.Uint64(p[8:])),
		line: line(le.Uint32(p[16:])),
	}
	if r.to == 0 || r.left <= r.to || r.left > maxEpoch || r.line == 0 {
		return r, recordError("rollback", fmt.Sprintf("%+v", r), "to an earlier point on a new line")
	}
	return r, nil
}

// sweepRecord is the payload of a sweep record: run was judged again and had count blocks.
type sweepRecord struct {
	run   uint64
	count uint64
}

func (r *sweepRecord) encode(p []byte) {
	binary.LittleEndian.PutUint64(p, r.run)
	binary.LittleEndian.PutUint64(p[8:], r.count)
}

func decodeSweep(p []byte) (r sweepRecord, err error) {
	if len(p) != sweepLen {
		return r, recordError("length of a sweep record", len(p), sweepLen)
	}
	r = sweepRecord{run: binary.LittleEndian.Uint64(p), count: binary.LittleEndian.Uint64(p[8:])}
	if r.run == 0 {
		return r, recordError("run of a sweep record", 0, "at least 1")
	}
	return r, nil
}

// encodedLen is the length of the payload of a proven record.
func (p proof) encodedLen() int {
	if p.passed == 0 {
		return wordLen
	}
	return 2 * wordLen
}

func (p proof) encode(b []byte) {
	putWord(b, uint64(p.pos))
	if p.passed != 0 {
		putWord(b[wordLen:], uint64(p.passed))
	}
}

// decodeProof decodes the payload of the proven record at a position: it proves nothing behind
// itself.
func decodeProof(b []byte, at position) (p proof, err error) {
	if len(b) == 2*wordLen {
		v, err := decodeWord(b[wordLen:], 1<<64-1)
		if err != nil || v == 0 {
			return p, recordError("intent of a proven record", v, "at least 1, or left out")
		}
		p.passed = intentNumber(v)
		b = b[:wordLen]
	}
	v, err := decodeWord(b, uint64(at))
	if err == nil && v%8 != 0 {
		err = recordError("proven position", v, "a multiple of 8")
	}
	p.pos = position(v)
	return p, err
}

// putWord writes the payload of a record that is one number: the point of a retire or delete, the
// size of a resize.
func putWord(p []byte, v uint64) { binary.LittleEndian.PutUint64(p, v) }

// decodeWord reads such a payload; the number is at most limit.
func decodeWord(p []byte, limit uint64) (uint64, error) {
	if len(p) != wordLen {
		return 0, recordError("length of a record's payload", len(p), wordLen)
	}
	v := binary.LittleEndian.Uint64(p)
	if v > limit {
		return 0, recordError("number in a record", v, fmt.Sprint("at most ", limit))
	}
	return v, nil
}

// recordError reports a payload that no program of this version writes. replay adds the place.
func recordError(what string, found, want any) error {
	return corrupt(journalName, 0, what, found, want)
}
