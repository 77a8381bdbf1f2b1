package mirror

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// ID is a random number that names a volume or a synchronisation. All zero is none.
type ID [16]byte

func (id ID) String() string { return fmt.Sprintf("%x", id[:]) }

// IsZero says that the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Mark names a state of the disks that both partners may have: what an epoch ended with, or what
// the synchronisation before epoch 0 brought the secondary to. Pairs are made once in a generation.
type Mark struct {
	Generation uint64 // in which the pair was made; 0: the mark names nothing
	Epoch      int64  // Base: the synchronised state itself
}

// Base is the Epoch of a mark that is the state before epoch 0.
const Base = -1

// IsZero says that the mark names nothing.
func (m Mark) IsZero() bool { return m.Generation == 0 }

func (m Mark) String() string {
	if m.Epoch == Base {
		return fmt.Sprintf("%d/base", m.Generation)
	}
	return fmt.Sprintf("%d/%d", m.Generation, m.Epoch)
}

// Reason is why a partner ends the pair.
type Reason uint16

// The reasons of version 1.
const (
	Operator   Reason = 1 + iota // somebody asked for it
	TooSlow                      // a checkpoint would hold the guest too long
	Storage                      // a store failed
	Poisoned                     // it is not known which state the secondary's memory is in
	Protocol                     // the other side sent what it may not
	Leaving                      // the process ends in order
	Superseded                   // a newer generation serves
	Machine                      // QEMU ended, or does not do COLO any more
)

var reasons = map[Reason]string{
	Operator: "operator", TooSlow: "too slow", Storage: "storage failed", Poisoned: "poisoned",
	Protocol: "protocol fault", Leaving: "leaving", Superseded: "superseded", Machine: "machine gone",
}

func (r Reason) String() string {
	if s := reasons[r]; s != "" {
		return s
	}
	return fmt.Sprintf("reason %d", uint16(r))
}

// Count is how much of an epoch concerned a disk.
type Count struct {
	Extents, DataBytes, ZeroBytes uint64
}

// Cause is why the primary's machine ends for good.
type Cause uint8

// The causes of version 1.
const (
	GuestShutdown Cause = 1 + iota
	HostShutdown
)

// RingDigest tells the memory of one ring apart from another's: of its indices and tables, when it
// was stopped.
type RingDigest struct {
	Disk, Queue uint16
	Digest      uint64
}

// seal is SEAL: everything of an epoch was sent.
type seal struct {
	epoch  uint64
	rings  []RingDigest
	counts []Count // one for each disk
}

func (m *seal) encode(b []byte) []byte {
	b = le.AppendUint64(b, m.epoch)
	b = le.AppendUint16(b, uint16(len(m.rings)))
	b = append(b, uint8(len(m.counts)))
	for _, r := range m.rings {
		b = le.AppendUint16(le.AppendUint16(b, r.Disk), r.Queue)
		b = le.AppendUint64(b, r.Digest)
	}
	for _, c := range m.counts {
		b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, c.Extents), c.DataBytes), c.ZeroBytes)
	}
	return b
}

func (m *seal) decode(d *decoder) {
	m.epoch = d.epoch()
	rings, disks := d.u16(), d.count(maxDisks)
	if rings > maxRings {
		d.fail("rings", uint64(rings))
		return
	}
	for range rings {
		m.rings = append(m.rings, RingDigest{d.u16(), d.u16(), d.u64()})
	}
	for range disks {
		m.counts = append(m.counts, Count{d.u64(), d.u64(), d.u64()})
	}
}

// report is REPORT: epoch is what the disks show, durable what would survive a power cut.
type report struct {
	epoch   uint64
	durable int64 // Base: no epoch yet
}

func (m *report) encode(b []byte) []byte {
	return le.AppendUint64(le.AppendUint64(b, m.epoch), uint64(m.durable+1))
}

func (m *report) decode(d *decoder) {
	m.epoch = d.epoch()
	m.durable = d.markEpoch()
	if m.durable > int64(m.epoch) {
		d.fail("durable epoch", uint64(m.durable))
	}
}

// renew is RENEW: a request to promise not to take over for a time.
type renew struct {
	seq  uint64
	span time.Duration
}

func (m *renew) encode(b []byte) []byte {
	return le.AppendUint64(le.AppendUint64(b, m.seq), uint64(m.span))
}

func (m *renew) decode(d *decoder) {
	m.seq = d.u64()
	n := d.u64()
	if n == 0 || n > uint64(maxPromise) {
		d.fail("promise in ns", n)
		return
	}
	m.span = time.Duration(n)
}

// SyncPlan says what a synchronisation brings one disk to.
type SyncPlan struct {
	Run  ID    // names the synchronisation; the same for all disks, and after a broken connection
	Disk int   // index in the hello
	From Mark  // what the secondary starts from; zero: from nothing, all it has is dropped
	Size int64 // of the disk, in bytes
	All  int64 // about how much there is to send, in bytes, for people
}

func (m *SyncPlan) encode(b []byte) []byte {
	b = append(b, m.Run[:]...)
	b = appendMark(b, m.From)
	return le.AppendUint64(le.AppendUint64(b, uint64(m.Size)), uint64(m.All))
}

func (m *SyncPlan) decode(d *decoder) {
	m.Run = d.id()
	m.From = d.mark()
	m.Size = d.int63()
	m.All = d.int63()
	if m.Run.IsZero() {
		d.fail("run", 0)
	}
}

// Range is a stretch of a disk, in bytes.
type Range struct{ Off, Len int64 }

// A Range by itself is DAMAGED: content that is not what its checksum says.

func (m *Range) encode(b []byte) []byte {
	return le.AppendUint64(le.AppendUint64(b, uint64(m.Off)), uint64(m.Len))
}

func (m *Range) decode(d *decoder) { m.Off, m.Len = d.int63(), d.int63() }

// syncHave is SYNC HAVE: what the secondary has durably of a synchronisation.
type syncHave struct {
	run    ID
	ranges []Range // ascending, apart from each other
}

func (m *syncHave) encode(b []byte) []byte {
	b = append(b, m.run[:]...)
	for _, r := range m.ranges {
		b = le.AppendUint64(le.AppendUint64(b, uint64(r.Off)), uint64(r.Len))
	}
	return b
}

func (m *syncHave) decode(d *decoder) {
	m.run = d.id()
	end := int64(0)
	for d.more() {
		r := Range{d.int63(), d.int63()}
		if r.Len == 0 || r.Off < end || r.Len > math.MaxInt64-r.Off {
			d.fail("range", uint64(r.Off))
			return
		}
		end = r.Off + r.Len
		m.ranges = append(m.ranges, r)
	}
}

// syncEnd is SYNC END: all was sent, and how much since SYNC BEGIN.
type syncEnd struct {
	run  ID
	sent uint64
}

func (m *syncEnd) encode(b []byte) []byte { return le.AppendUint64(append(b, m.run[:]...), m.sent) }

func (m *syncEnd) decode(d *decoder) { m.run, m.sent = d.id(), d.u64() }

// syncDone is SYNC DONE: how much of the synchronisation is durable; with last, all of it.
type syncDone struct {
	run     ID
	durable uint64
	last    bool
}

func (m *syncDone) encode(b []byte) []byte {
	b = le.AppendUint64(append(b, m.run[:]...), m.durable)
	if m.last {
		return append(b, 1)
	}
	return append(b, 0)
}

func (m *syncDone) decode(d *decoder) {
	m.run, m.durable = d.id(), d.u64()
	last := d.u8()
	if last > 1 {
		d.fail("last", uint64(last))
	}
	m.last = last == 1
}

// verify is VERIFY: a request for checksums of a range as it was at a mark.
type verify struct {
	id    uint32
	chunk uint32 // bytes that one checksum covers
	at    Mark
	where Range
}

func (m *verify) encode(b []byte) []byte {
	b = le.AppendUint32(le.AppendUint32(b, m.id), m.chunk)
	b = appendMark(b, m.at)
	return le.AppendUint64(le.AppendUint64(b, uint64(m.where.Off)), uint64(m.where.Len))
}

func (m *verify) decode(d *decoder) {
	m.id, m.chunk, m.at = d.u32(), d.u32(), d.mark()
	m.where = Range{d.int63(), d.int63()}
	switch {
	case m.chunk < minChunk || m.chunk > maxChunk || m.chunk%sector != 0:
		d.fail("bytes of a checksum", uint64(m.chunk))
	case m.where.Len == 0 || m.where.Off%sector != 0 || m.where.Len%sector != 0:
		d.fail("range", uint64(m.where.Off))
	case m.where.Len > math.MaxInt64-m.where.Off || m.where.Len > maxSums*int64(m.chunk):
		d.fail("length", uint64(m.where.Len))
	}
}

// sums is SUMS: the answer to VERIFY.
type sums struct {
	id     uint32
	status uint16 // 0: here they are
	sums   []Sum
}

func (m *sums) encode(b []byte) []byte {
	b = le.AppendUint16(le.AppendUint32(b, m.id), m.status)
	for i := range m.sums {
		b = append(b, m.sums[i][:]...)
	}
	return b
}

func (m *sums) decode(d *decoder) {
	m.id, m.status = d.u32(), d.u16()
	if m.status > sumsFailed {
		d.fail("status", uint64(m.status))
		return
	}
	for d.more() {
		m.sums = append(m.sums, Sum(d.take(sumLen)))
	}
}

// number is a message of one number: ACK, RING START, START ACK, CREDIT, RENEWED.
type number uint64

func (m *number) encode(b []byte) []byte { return le.AppendUint64(b, uint64(*m)) }

func (m *number) decode(d *decoder) { *m = number(d.u64()) }

// shutdown is SHUTDOWN.
func (m *Cause) encode(b []byte) []byte { return append(b, uint8(*m)) }

func (m *Cause) decode(d *decoder) {
	*m = Cause(d.u8())
	if *m != GuestShutdown && *m != HostShutdown {
		d.fail("cause", uint64(*m))
	}
}

// words is REFUSE, GIVE UP, HAND OVER and LEAVE: a code, and a text for people.
type words struct {
	code uint16
	text []byte
}

func (m *words) encode(b []byte) []byte {
	return append(le.AppendUint16(b, m.code), m.text[:min(len(m.text), maxText)]...)
}

func (m *words) decode(d *decoder) {
	m.code = d.u16()
	m.text = bytes.Clone(d.rest())
	if m.code == 0 {
		d.fail("code", 0)
	}
}

// empty is WELCOME, PING and SHUTDOWN ACK.
type empty struct{}

func (*empty) encode(b []byte) []byte { return b }
func (*empty) decode(*decoder)        {}

func appendMark(b []byte, m Mark) []byte {
	if m.IsZero() {
		m.Epoch = Base
	}
	return le.AppendUint64(le.AppendUint64(b, m.Generation), uint64(m.Epoch+1))
}

var le = binary.LittleEndian
