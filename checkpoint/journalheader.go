package checkpoint

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
)

// The journal file: two header sectors, the tail word, the area.
const (
	journalHeaderLen = 512
	journalHeaderGap = 4096 // from one copy of the header to the other
	journalTailWord  = 8192
	journalArea      = 12288
	minJournalArea   = 8 * maxRecord // the control reserve takes a record
	maxJournalArea   = 1 << 40
)

// bootID is the kernel's boot id; zero is unknown, and equals nothing.
type bootID [16]byte

func parseBootID(s string) (b bootID) {
	p, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(p) != len(b) {
		return bootID{}
	}
	copy(b[:], p)
	return b
}

func (b bootID) same(other bootID) bool { return b != bootID{} && b == other }

// journalHeader is what the journal knows about itself apart from its records. Two copies are
// written in turn, each within one sector. Whatever a copy says stays true when a later one is
// lost, except for the incarnation, which is therefore written to both.
type journalHeader struct {
	id          [16]byte
	boot        bootID // of the kernel under which this incarnation appends
	sequence    uint64 // of headers
	incarnation uint32 // counts the processes that have appended
	startChain  uint32 // chain value at start
	start       position
	proven      position // what replay must reach after a power cut
	end         position // if clean: where the journal ends
	clean       bool
	superblock  uint64 // newest superblock known to be durable
	area        uint64 // bytes
	ring        intentRing
	passed      intentNumber // intents that proven passed
}

const (
	jhID         = 16
	jhBoot       = 32
	jhSequence   = 48
	jhIncarn     = 56
	jhStartChain = 60
	jhStart      = 64
	jhProven     = 72
	jhEnd        = 80
	jhFlags      = 88
	jhSuperblock = 96
	jhArea       = 104
	jhKey        = 112
	jhRing       = 120
	jhRingSlots  = 128
	jhPassed     = 136
	jhReserved   = 144
)

// journalClean: the journal was closed in order.
const journalClean uint32 = 1

func journalHeaderOffset(sequence uint64) int64 { return int64(sequence%2) * journalHeaderGap }

// encode fills p, journalHeaderLen bytes.
func (h *journalHeader) encode(p []byte) {
	le := binary.LittleEndian
	clear(p)
	copy(p[jhID:], h.id[:])
	copy(p[jhBoot:], h.boot[:])
	le.PutUint64(p[jhSequence:], h.sequence)
	le.PutUint32(p[jhIncarn:], h.incarnation)
	le.PutUint32(p[jhStartChain:], h.startChain)
	le.PutUint64(p[jhStart:], uint64(h.start))
	le.PutUint64(p[jhProven:], uint64(h.proven))
	if h.clean {
		le.PutUint64(p[jhEnd:], uint64(h.end))
		le.PutUint32(p[jhFlags:], journalClean)
	}
	le.PutUint64(p[jhSuperblock:], h.superblock)
	le.PutUint64(p[jhArea:], h.area)
	le.PutUint64(p[jhKey:], h.ring.key)
	le.PutUint64(p[jhRing:], uint64(h.ring.first))
	le.PutUint32(p[jhRingSlots:], uint32(h.ring.n))
	le.PutUint64(p[jhPassed:], uint64(h.passed))
	sealHeader(p, magicJournal, saltJournal)
}

// decodeJournalHeader decodes and validates the copy at byte off of the file.
func decodeJournalHeader(p []byte, off int64) (*journalHeader, error) {
	if len(p) != journalHeaderLen {
		return nil, corrupt(journalName, off, "length of the header", len(p), journalHeaderLen)
	}
	if err := checkHeader(p, journalName, off, magicJournal, saltJournal); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	h := &journalHeader{
		sequence:    le.Uint64(p[jhSequence:]),
		incarnation: le.Uint32(p[jhIncarn:]),
		startChain:  le.Uint32(p[jhStartChain:]),
		start:       position(le.Uint64(p[jhStart:])),
		proven:      position(le.Uint64(p[jhProven:])),
		end:         position(le.Uint64(p[jhEnd:])),
		clean:       le.Uint32(p[jhFlags:]) == journalClean,
		superblock:  le.Uint64(p[jhSuperblock:]),
		area:        le.Uint64(p[jhArea:]),
		ring: intentRing{
			key:    le.Uint64(p[jhKey:]),
			extent: extent{slot(le.Uint64(p[jhRing:])), uint64(le.Uint32(p[jhRingSlots:]))},
		},
		passed: intentNumber(le.Uint64(p[jhPassed:])),
	}
	copy(h.id[:], p[jhID:])
	copy(h.boot[:], p[jhBoot:])
	if f := le.Uint32(p[jhFlags:]); f > journalClean {
		return nil, corrupt(journalName, off+jhFlags, "flags", f, "known flags")
	}
	return h, errors.Join(h.validate(off),
		checkZero(p[jhFlags+4:jhSuperblock], journalName, off+jhFlags+4),
		checkZero(p[jhRingSlots+4:jhPassed], journalName, off+jhRingSlots+4),
		checkZero(p[jhReserved:], journalName, off+jhReserved))
}

// validate judges what the checksum cannot.
func (h *journalHeader) validate(off int64) error {
	bad := func(at int64, what string, found, want any) error {
		return corrupt(journalName, off+at, what, found, want)
	}
	switch {
	case h.sequence == 0 || journalHeaderOffset(h.sequence) != off:
		return bad(jhSequence, "sequence of the header", h.sequence, "that of this copy's parity")
	case h.incarnation == 0:
		return bad(jhIncarn, "incarnation", 0, "at least 1")
	case (h.start|h.proven|h.end)%8 != 0:
		return bad(jhStart, "positions", h.start|h.proven|h.end, "multiples of 8")
	case !h.clean && h.end != 0:
		return bad(jhEnd, "end", h.end, "0 in a journal that is not clean")
	case h.area < minJournalArea || h.area > maxJournalArea || h.area%pageSize != 0:
		return bad(jhArea, "length of the area", h.area, "whole pages, 128 KiB to 1 TiB")
	case !h.ring.valid():
		return bad(jhRing, "ring of intents", h.ring, "slots of the data area")
	case (h.clean || h.ring.n == 0) && (h.ring != intentRing{} || h.passed != 0):
		return bad(jhKey, "key, ring or number of an intent", h.ring, "0 where there are no intents")
	}
	return nil
}

// readJournalHeader returns the newest valid copy. One damaged copy is survived: see
// journalHeader.
func readJournalHeader(f File) (*journalHeader, error) {
	var best *journalHeader
	var errs [2]error
	for i := range errs {
		off := int64(i) * journalHeaderGap
		p := make([]byte, journalHeaderLen)
		if n, err := f.ReadAt(p, off); errors.Is(err, io.EOF) {
			errs[i] = corrupt(journalName, off, "length of the header", n, journalHeaderLen)
			continue
		} else if err != nil {
			return nil, err
		}
		h, err := decodeJournalHeader(p, off)
		if err != nil && otherVersion(p, magicJournal, saltJournal) {
			return nil, err
		}
		if errs[i] = err; err == nil && (best == nil || h.sequence > best.sequence) {
			best = h
		}
	}
	if best == nil {
		return nil, worse(errs[0], errs[1])
	}
	return best, nil
}

// tailWord makes the word that says how far the journal was filled: the position in units of 8
// and a checksum, in the eight bytes that a processor stores at once.
func tailWord(p position) uint64 {
	units := uint64(p) / 8 & (1<<48 - 1)
	return units | uint64(sumWord(uint32(saltTail), units))<<48
}

// tailPosition returns the position that a tail word names: the first one at or after base that
// has its lower bits.
func tailPosition(word uint64, base position) (position, bool) {
	units := word & (1<<48 - 1)
	ahead := (units - uint64(base)/8) & (1<<48 - 1)
	return base + position(ahead*8), tailWord(position(units*8)) == word
}
