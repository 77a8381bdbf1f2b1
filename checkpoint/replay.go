package checkpoint

import "fmt"

// replay hands every record from a snapshot's start to the journal's end to apply, and leaves
// the journal ready for begin. Payloads are valid during the call only.
//
// The end is found first (scan), because after a power cut the last proven record says how much
// of what is there counts. Where replay stops earlier than it must have come, the journal is
// damaged: that is an error with the place of the first bad record, never a shorter history.
func (j *journal) replay(from journalStart, boot string, apply func(recordHeader, []byte) error) error {
	if err := j.checkStart(from); err != nil {
		return err
	}
	r := newRecordReader(j.f, &j.hdr, from)
	claim, err := r.scan()
	if err != nil {
		return err
	}
	valid := r.at.pos
	same := j.hdr.boot.same(parseBootID(boot))
	end, err := j.findEnd(r.at, from.pos, claim.pos, same)
	if err != nil {
		return err
	}
	r.at, j.next = from, from
	for {
		h, payload, ok, err := r.read()
		if err != nil {
			return err
		}
		if !ok || r.at.pos > end {
			break
		}
		j.next = r.at
		if h.kind == recordPad || h.kind == recordProven {
			continue
		}
		if err := apply(h, payload); err != nil {
			return inRecord(err, r.offset(h.pos), h)
		}
	}
	if j.next.pos != end {
		return corrupt(journalName, r.offset(end), "end of the journal", end, "the end of a record")
	}
	j.head, j.ended = from.pos, true
	j.redo = same && !j.hdr.clean
	j.drop = valid
	j.lossy, j.passed = !same && !j.hdr.clean, max(j.hdr.passed, claim.passed)
	return nil
}

// checkStart judges a snapshot's place against the header: a start behind that of the newest
// incarnation can only belong to it.
func (j *journal) checkStart(from journalStart) error {
	h := &j.hdr
	switch {
	case from.incarnation > h.incarnation,
		from.pos > h.start && from.incarnation != h.incarnation,
		from.pos == h.start && from.chain != h.startChain:
		return corrupt(journalName, journalHeaderOffset(h.sequence), "incarnation",
			fmt.Sprintf("%d from %d", h.incarnation, h.start), fmt.Sprintf("that of the snapshot at %+v", from))
	case from.pos < h.start && h.start-from.pos > position(j.size):
		return corrupt(journalName, journalHeaderOffset(h.sequence)+jhStart, "start of the incarnation",
			h.start, fmt.Sprintf("at most %d behind the snapshot at %d", j.size, from.pos))
	}
	return nil
}

// findEnd decides how far replay goes, given where valid records end and the position that the
// last proven one among them claims.
func (j *journal) findEnd(valid journalStart, from, claim position, same bool) (position, error) {
	must, why := max(from, j.hdr.start), "start of this incarnation"
	end := valid.pos
	switch {
	case j.hdr.clean:
		must, why = j.hdr.end, "end of the closed journal"
	case same:
		tail, err := j.readTail(from)
		if err != nil {
			return 0, err
		}
		if tail > must {
			must, why = tail, "tail word"
		}
	default:
		if j.hdr.proven > must {
			must, why = j.hdr.proven, "proven position"
		}
		end = max(from, j.hdr.proven, claim)
	}
	if valid.pos < must {
		at := nextRecord(valid.pos, j.size)
		return 0, corrupt(journalName, areaOffset(at, j.size), "journal record", fmt.Sprint("none at ", at),
			fmt.Sprintf("records up to %d (%s)", must, why))
	}
	if j.hdr.clean && valid.pos != must {
		return 0, corrupt(journalName, areaOffset(must, j.size), "record behind the end", valid.pos, must)
	}
	return end, nil
}

// readTail reads the tail word. The same kernel is still running, so it holds what the last
// process stored.
func (j *journal) readTail(from position) (position, error) {
	var p [wordLen]byte
	if _, err := j.f.ReadAt(p[:], journalTailWord); err != nil {
		return 0, err
	}
	word, err := decodeWord(p[:], 1<<64-1)
	if err != nil {
		return 0, err
	}
	tail, ok := tailPosition(word, from)
	if !ok || uint64(tail-from) > j.size {
		return 0, corrupt(journalName, journalTailWord, "tail word", fmt.Sprintf("%#016x", word),
			fmt.Sprintf("a position behind %d and its checksum", from))
	}
	return tail, nil
}

// inRecord adds a record's place to an error of a payload's decoder.
func inRecord(err error, off int64, h recordHeader) error {
	if c, ok := err.(*CorruptError); ok && c.File == journalName {
		c.Offset += off + recordHead
		return c
	}
	return fmt.Errorf("%s record at byte %d of the journal: %w", h.kind, off, err)
}

// nextLap is the first position of the lap after the one that p lies in.
func nextLap(p position, size uint64) position { return p + position(size-uint64(p)%size) }

// nextRecord is where a record behind p begins: p, but in the next lap where a lap's end leaves
// no room for a header.
func nextRecord(p position, size uint64) position {
	if size-uint64(p)%size < recordHead {
		return nextLap(p, size)
	}
	return p
}

// areaOffset is the byte of the file at which a position lies.
func areaOffset(p position, size uint64) int64 { return journalArea + int64(uint64(p)%size) }

// recordReader reads records in order. It reads the file and not a mapping, so that a bad sector
// is an error and not a signal.
type recordReader struct {
	f   File
	hdr *journalHeader
	at  journalStart // where the next record begins; incarnation of the one before

	buf  []byte // bytes of the file from byte base on
	base int64
	mem  []byte // storage of buf
}

// readAhead is how much of the area is read at a time.
const readAhead = 64 << 10

func newRecordReader(f File, hdr *journalHeader, from journalStart) *recordReader {
	return &recordReader{f: f, hdr: hdr, at: from, mem: make([]byte, readAhead)}
}

func (r *recordReader) offset(p position) int64 {
	return areaOffset(nextRecord(p, r.hdr.area), r.hdr.area)
}

// scan goes to the end of the valid records and returns what the proven ones say together. Numbers
// of intents are those of the newest incarnation.
func (r *recordReader) scan() (claim proof, err error) {
	for {
		h, payload, ok, err := r.read()
		if err != nil || !ok {
			return claim, err
		}
		if h.kind != recordProven {
			continue
		}
		of, err := decodeProof(payload, h.pos)
		if err != nil {
			return proof{}, inRecord(err, r.offset(h.pos), h)
		}
		if h.incarnation != r.hdr.incarnation {
			of.passed = 0
		}
		claim = claim.with(of)
	}
}

// read returns the record at r.at and steps behind it; ok is false where none is valid, and then
// r.at is left alone.
func (r *recordReader) read() (h recordHeader, payload []byte, ok bool, err error) {
	size := r.hdr.area
	at := r.at
	at.pos = nextRecord(at.pos, size)
	left := size - uint64(at.pos)%size
	p, err := r.bytes(at.pos, recordHead)
	if err != nil {
		return h, nil, false, err
	}
	h, ok = decodeRecordHeader(p, at.pos)
	if !ok || uint64(h.length) > left || !r.admits(h, at.incarnation) {
		return recordHeader{}, nil, false, nil
	}
	if p, err = r.bytes(at.pos, int(h.length)); err != nil {
		return h, nil, false, err
	}
	found, want := recordSum(p, at.chain)
	if found != want {
		return recordHeader{}, nil, false, nil
	}
	if err := h.validate(p, areaOffset(at.pos, size)); err != nil {
		return h, nil, false, err
	}
	at = journalStart{pos: at.pos + position(h.length), chain: want, incarnation: h.incarnation}
	if h.kind == recordPad {
		at.pos = nextLap(h.pos, size)
	}
	if at.pos == r.hdr.start && at.chain != r.hdr.startChain {
		return h, nil, false, corrupt(journalName, areaOffset(h.pos, size), "record before this incarnation",
			fmt.Sprintf("%#08x", at.chain), fmt.Sprintf("%#08x", r.hdr.startChain))
	}
	r.at = at
	return h, p[recordHead:], true, nil
}

// admits reports whether a record of h's incarnation can follow one of another: incarnations
// ascend, and the newest has written everything from its start on, and nothing before.
func (r *recordReader) admits(h recordHeader, before uint32) bool {
	if h.pos >= r.hdr.start {
		return h.incarnation == r.hdr.incarnation
	}
	return h.incarnation >= before && h.incarnation < r.hdr.incarnation
}

// bytes returns n bytes of the area, which do not wrap.
func (r *recordReader) bytes(p position, n int) ([]byte, error) {
	off := areaOffset(p, r.hdr.area)
	if off < r.base || off+int64(n) > r.base+int64(len(r.buf)) {
		take := min(int64(len(r.mem)), journalArea+int64(r.hdr.area)-off)
		if _, err := r.f.ReadAt(r.mem[:take], off); err != nil {
			r.buf = nil
			return nil, err
		}
		r.base, r.buf = off, r.mem[:take]
	}
	return r.buf[off-r.base:][:n:n], nil
}
