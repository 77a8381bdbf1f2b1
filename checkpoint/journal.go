package checkpoint

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// controlShare: one part in so many of the area is left to control records.
const controlShare = 8

// proofRoom is what all others leave to proven records: one of a flush round that began before the
// last other record, one of the round after it, and the end of the lap where neither fits.
const proofRoom = 3 * (recordHead + 2*wordLen)

// errJournalFull means that a snapshot must be made before more is appended.
var errJournalFull = errors.New("journal full")

// journalStart is a place from which replay can begin: a record boundary, the checksum of the
// record before it, and the incarnation that wrote that.
type journalStart struct {
	pos         position
	chain       uint32
	incarnation uint32
}

// proof says that the data of every record before a position is durable, and which intents are no
// longer needed for that.
type proof struct {
	pos    position
	passed intentNumber // the last one drawn before pos was the journal's tail; 0: none
}

// with returns what two proofs say together. The later one says more in both respects.
func (p proof) with(q proof) proof { return proof{max(p.pos, q.pos), max(p.passed, q.passed)} }

// journal is the file that orders everything a store does. Records are made in a shared mapping
// of it, so that they survive the death of the process with no system call; sync makes them
// survive a power cut.
//
// A record names its position and incarnation and its checksum continues that of the record
// before, so nothing else that ever lay in the area (an earlier lap, a tail that was dropped
// after a power cut) can be taken for it.
//
// Life: openJournal, replay, begin, then reserve/seal pairs, prove, sync, release; close. The
// appending methods and release belong to one goroutine at a time (the store's mutex); sync and
// sawSuperblock may run beside them and each other.
type journal struct {
	f    File
	size uint64 // bytes of the area

	// Appending side.
	mem   []byte // the whole file, mapped; nil before begin
	area  []byte // mem from journalArea on
	head  position
	next  journalStart // where the next record goes
	open  int          // bytes of the record that is reserved at next; 0: none
	drop  position     // begin: valid records from next up to here are to be dropped
	redo  bool         // begin: records may be in the page cache only
	ended bool         // replay has found the end
	begun bool
	ring  intentRing // begin: that of the incarnation to come

	// What replay found out for recallIntents.
	lossy  bool         // the end is that of the last proof: a power cut may have taken the rest
	passed intentNumber // said by the newest proof of this incarnation

	failed atomic.Bool

	// mu guards what sync and the appending side share.
	mu      sync.Mutex
	err     error         // why failed is set
	hdr     journalHeader // as last written
	sector  [journalHeaderLen]byte
	durable uint64 // sequence of the newest header known to be durable
	claim   proof  // the newest
	proven  proof  // the newest known to be durable
	seen    uint64 // sequence of the newest superblock known to be durable
}

// createJournal fills a new file: header, no records. size is about that of the file.
func createJournal(f File, size int64, id [16]byte, boot string) (journalStart, error) {
	area := (size - journalArea) &^ (pageSize - 1)
	if area < minJournalArea || area > maxJournalArea {
		return journalStart{}, fmt.Errorf("a journal of %d bytes: must be %d to %d: %w", size,
			int64(journalArea+minJournalArea), int64(journalArea+maxJournalArea), ErrTooMany)
	}
	// Written once in full: appending later needs no space and changes no metadata of the file.
	if err := f.Allocate(0, journalArea+area); err != nil {
		return journalStart{}, err
	}
	blank := make([]byte, 1<<20)
	for off := int64(0); off < journalArea+area; off += int64(len(blank)) {
		if _, err := f.WriteAt(blank[:min(int64(len(blank)), journalArea+area-off)], off); err != nil {
			return journalStart{}, err
		}
	}
	j := &journal{f: f, size: uint64(area)}
	j.hdr = journalHeader{
		id: id, boot: parseBootID(boot), incarnation: 1, startChain: saltChain.sum(id[:]),
		clean: true, area: uint64(area),
	}
	return journalStart{chain: j.hdr.startChain, incarnation: 1}, j.writeHeaders()
}

// openJournal reads the header of the journal of volume id.
func openJournal(f File, id [16]byte) (*journal, error) {
	hdr, err := readJournalHeader(f)
	if err != nil {
		return nil, err
	}
	if hdr.id != id {
		return nil, corrupt(journalName, journalHeaderOffset(hdr.sequence)+jhID, "volume",
			fmt.Sprintf("%x", hdr.id), fmt.Sprintf("%x", id))
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if want := int64(hdr.area) + journalArea; size != want {
		return nil, corrupt(journalName, size, "length of the file", size, want)
	}
	return &journal{f: f, size: hdr.area, hdr: *hdr, durable: hdr.sequence}, nil
}

// superblockSeen is the sequence number of a superblock that was durable: a newest valid copy
// older than this means that the newest copy is damaged.
func (j *journal) superblockSeen() uint64 { return j.hdr.superblock }

// begin makes the end that replay found the beginning of a new incarnation, and proven: the data
// of every record before it is durable, the caller has synced it. Nothing is appended before
// begin. What it relies on, and what would break:
//
//  1. Records found in the page cache are written to it again: after a failed sync the kernel
//     takes them for clean, and the sync below would promise what is not on the disk.
//  2. The tail word changes before the header: until then it is ignored (other boot id) or
//     goes forward only.
//  3. Both copies of the header name the new incarnation before a record of it exists: if one
//     is damaged later, the other must not end the journal where this incarnation began.
//  4. What is dropped is wiped last, when the header says where the journal ends: wiped earlier
//     it could take along the proven record that says so.
func (j *journal) begin(boot string) error {
	if !j.ended || j.begun {
		invariant("journal begins before replay, or twice")
	}
	if j.hdr.incarnation == 1<<32-1 {
		return fmt.Errorf("incarnations of the journal: %w", ErrTooMany)
	}
	if err := j.attach(); err != nil {
		return err
	}
	j.begun = true
	if j.redo {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	j.storeTail()
	if err := j.sync(); err != nil {
		return err
	}
	j.hdr.proven, j.hdr.passed = j.next.pos, 0
	j.hdr.boot = parseBootID(boot)
	j.hdr.incarnation++
	j.hdr.ring = j.ring
	j.hdr.start, j.hdr.startChain = j.next.pos, j.next.chain
	j.hdr.clean, j.hdr.end = false, 0
	j.next.incarnation = j.hdr.incarnation
	j.claim = proof{pos: j.hdr.proven}
	j.proven = j.claim
	if err := j.writeHeaders(); err != nil {
		return err
	}
	j.wipe(j.next.pos, j.drop)
	return nil
}

// attach maps the file.
func (j *journal) attach() error {
	if j.mem != nil {
		return nil
	}
	mem, err := j.f.Map(journalArea + int64(j.size))
	if err != nil {
		return err
	}
	j.mem, j.area = mem, mem[journalArea:]
	return nil
}

// prolong lets records be appended to the incarnation that replay ended in. They count when begin is
// done; until then the next replay must end where this one did. What says so may be a proven record
// behind that place, which the new records go over: so the header says it first.
func (j *journal) prolong() error {
	if !j.ended {
		invariant("a journal prolonged before replay")
	}
	if err := j.attach(); err != nil {
		return err
	}
	j.next.incarnation = j.hdr.incarnation
	j.proven = proof{j.next.pos, j.passed}
	return j.writeHeaders()
}

// rewrite writes the records from head to the end over themselves.
func (j *journal) rewrite() error {
	const step = 1 << 20
	for p := j.head; p < j.next.pos; {
		at := uint64(p) % j.size
		n := min(step, j.size-at, uint64(j.next.pos-p))
		if _, err := j.f.WriteAt(append([]byte(nil), j.area[at:at+n]...), journalArea+int64(at)); err != nil {
			return err
		}
		p += position(n)
	}
	return nil
}

// wipe zeroes the area between two positions.
func (j *journal) wipe(from, to position) {
	for p := from; p < to; {
		at := uint64(p) % j.size
		n := min(j.size-at, uint64(to-p))
		clear(j.area[at : at+n])
		p += position(n)
	}
}

// fits reports whether records of n bytes in all, headers included, can be reserved, the control
// reserve left alone.
func (j *journal) fits(n int) bool {
	need := uint64(n)
	if left := j.size - uint64(j.next.pos)%j.size; need > left {
		need += min(left, maxRecord)
	}
	return j.used()+need <= j.size-j.size/controlShare
}

// reserve returns the place where the next record's payload is made; seal completes it. Until
// then nothing is appended, and another reserve takes the place again. The last eighth of the
// area is left to control records, which a full journal must still take, and the end of that to
// proofs: without room for one a flush round fails, and with it the store.
func (j *journal) reserve(payload int, control bool) ([]byte, error) {
	if control {
		return j.reserveUpTo(j.size-proofRoom, payload)
	}
	return j.reserveUpTo(j.size-j.size/controlShare, payload)
}

// reserveUpTo does so as long as no more than limit bytes of the area are taken then.
func (j *journal) reserveUpTo(limit uint64, payload int) ([]byte, error) {
	if j.failed.Load() {
		return nil, j.failure()
	}
	if payload > maxPayload {
		invariant("journal record too long")
	}
	n := uint64(recordHead + roundUp8(payload))
	left := j.size - uint64(j.next.pos)%j.size
	need := n
	if left < n {
		need += left
	}
	if j.used()+need > limit {
		return nil, errJournalFull
	}
	if left < n {
		j.endLap(left)
	}
	at := uint64(j.next.pos) % j.size
	j.open = int(n)
	p := j.area[at+recordHead : at+n]
	clear(p[payload:])
	return p[:payload:payload], nil
}

// endLap fills the area's end, where the next record does not fit: records never wrap. What the
// pad leaves of it, or all if there is no room for a pad, is not looked at by replay.
func (j *journal) endLap(left uint64) {
	end := j.next.pos + position(left)
	if left >= recordHead {
		j.open = recordHead
		j.put(recordHeader{kind: recordPad})
	}
	j.next.pos = end
}

// seal completes the reserved record and returns the journal's new tail. The header is written
// behind the payload and the tail word last: a process that dies in between leaves a tail word
// that does not count on the record.
func (j *journal) seal(kind recordKind, seq sequence, l line, e epoch) position {
	j.put(recordHeader{kind: kind, seq: seq, line: l, epoch: e})
	j.storeTail()
	return j.next.pos
}

func (j *journal) put(h recordHeader) {
	if j.open == 0 {
		invariant("journal record sealed without room")
	}
	h.length, h.pos, h.incarnation = uint32(j.open), j.next.pos, j.next.incarnation
	at := uint64(j.next.pos) % j.size
	j.next.chain = h.encode(j.area[at:at+uint64(j.open)], j.next.chain)
	j.next.pos += position(j.open)
	j.open = 0
}

func (j *journal) storeTail() {
	word := (*uint64)(unsafe.Pointer(&j.mem[journalTailWord]))
	atomic.StoreUint64(word, tailWord(j.next.pos))
}

// tail is the position behind the last record.
func (j *journal) tail() position { return j.next.pos }

// start is where replay begins after a snapshot of everything appended so far.
func (j *journal) start() journalStart { return j.next }

// room is the length of the area, in bytes.
func (j *journal) room() uint64 { return j.size }

// used is how many bytes of the area are taken.
func (j *journal) used() uint64 { return uint64(j.next.pos - j.head) }

// release gives up everything before a position: a durable superblock names a snapshot that
// covers it.
func (j *journal) release(upTo position) {
	if upTo < j.head || upTo > j.next.pos {
		invariant("journal released outside of what it holds")
	}
	j.head = upTo
}

// prove appends a record of a proof. It counts after a power cut, and only once a sync has
// followed it.
func (j *journal) prove(of proof) error {
	p, err := j.reserveUpTo(j.size, of.encodedLen())
	if err != nil {
		return err
	}
	of.encode(p)
	j.seal(recordProven, 0, 0, 0)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.claim = j.claim.with(of)
	return j.refreshHeader()
}

// sync makes everything appended before the call durable.
func (j *journal) sync() error {
	j.mu.Lock()
	claim, header, err := j.claim, j.hdr.sequence, j.err
	j.mu.Unlock()
	if err != nil {
		return err
	}
	err = j.f.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if err != nil {
		return j.fail(err)
	}
	j.proven, j.durable = j.proven.with(claim), max(j.durable, header)
	return nil
}

// sawSuperblock notes that the superblock with a sequence number is durable. The next sync makes
// the note durable: from then on an older copy is not taken for the newest.
func (j *journal) sawSuperblock(sequence uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = max(j.seen, sequence)
	_ = j.refreshHeader() // an error stays and stops the journal
}

// refreshHeader writes the header if it would say something new. That is left out while the copy
// before may still be on its way to the disk: both at once could be lost. What the header says
// then lags behind, which is safe. Called with mu held.
func (j *journal) refreshHeader() error {
	news := j.proven.pos > j.hdr.proven || j.seen > j.hdr.superblock
	if j.err != nil || j.durable != j.hdr.sequence || !news {
		return j.err
	}
	return j.writeHeader()
}

// distrust says that data of records not proven may be lost although the kernel goes on: a sync of
// it failed, and the kernel takes what it could not write for clean. The next process believes the
// journal as after a power cut. If this cannot be written the journal has stopped anyway.
func (j *journal) distrust() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hdr.boot = bootID{}
	_ = j.writeHeader()
}

// close gives up the mapping and the file. clean says that the data of every record is durable
// and nothing more will be appended; replay then accepts no other end than this.
func (j *journal) close(clean bool) error {
	var errs [3]error
	if j.mem != nil {
		if clean {
			j.hdr.clean, j.hdr.end, j.hdr.proven = true, j.next.pos, j.next.pos
			j.hdr.ring, j.hdr.passed = intentRing{}, 0
			j.claim.passed, j.proven.passed = 0, 0
			errs[0] = j.writeHeaders()
		}
		errs[1] = j.f.Unmap(j.mem)
		j.mem, j.area = nil, nil
	}
	errs[2] = j.f.Close()
	return errors.Join(errs[:]...)
}

// writeHeaders writes both copies, each durable before the next, and before them what they
// rely on.
func (j *journal) writeHeaders() error {
	if err := j.sync(); err != nil {
		return err
	}
	for range 2 {
		j.mu.Lock()
		err := j.writeHeader()
		j.mu.Unlock()
		if err != nil {
			return err
		}
		if err := j.sync(); err != nil {
			return err
		}
	}
	return nil
}

// writeHeader writes the older copy. A write that fails may have changed it: nothing that this
// journal says can be relied on then. Called with mu held.
func (j *journal) writeHeader() error {
	if j.err != nil {
		return j.err
	}
	j.hdr.sequence++
	j.hdr.proven = max(j.hdr.proven, j.proven.pos)
	j.hdr.passed = max(j.hdr.passed, j.proven.passed)
	j.hdr.superblock = max(j.hdr.superblock, j.seen)
	j.hdr.encode(j.sector[:])
	if _, err := j.f.WriteAt(j.sector[:], journalHeaderOffset(j.hdr.sequence)); err != nil {
		return j.fail(err)
	}
	return nil
}

// fail stops the journal for good. Called with mu held.
func (j *journal) fail(err error) error {
	j.err = poison(err)
	j.failed.Store(true)
	return j.err
}

func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}
