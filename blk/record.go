package blk

import (
	"math"

	"github.com/belay-vm/belay/internal/probe"
)

// A worker keeps a record of each request that a round finishes and tells of all of them when they
// are published (package probe). It reads the clock once for each step of a round, not for each
// request: when chains are taken, when the store is done with some, when they are published, and
// after a sleep.

// times is what a worker knows of the time, in nanoseconds of CLOCK_MONOTONIC.
type times struct {
	now    uint64 // when the clock was read last
	looked uint64 // since then at most a chain that is found next has been in the ring
	mark   struct{ at, taken uint64 }
	taken  uint64 // chains so far
}

// clock reads it; in the type that spinners count in.
func (l *loop) clock() int64 {
	l.times.now = probe.Now()
	return int64(l.times.now)
}

// beginRing starts to count for a ring.
func (l *loop) beginRing() {
	l.clock()
	l.times.looked, l.times.mark.at = l.times.now, l.times.now
	if n := l.q.Resubmitted(); n > 0 {
		probe.Resubmit(l.dev.opts.Volume, uint64(l.q.Index()), uint64(n))
	}
}

// took notes a look at the ring that took n chains. The clock was read before it and, if there were
// any, with the first. Unless the look drained the ring, there may be rest more chains in it, because
// there is no room for them.
func (t *times) took(n int, before uint64, drained bool, rest int) {
	t.taken += uint64(n)
	if n > 0 {
		before = t.now
	}
	switch {
	case drained || n > 0 && rest <= 0:
		t.looked = before
	case t.taken-t.mark.taken < uint64(max(rest, 1)):
		return
	default: // as many were taken since as can have been in the ring then, and the oldest go first
		t.looked = t.mark.at
	}
	t.mark.at, t.mark.taken = before, t.taken
}

// slept notes that the worker was woken. What a kick takes to arrive is the guest's and the kernel's.
func (l *loop) slept() {
	if l.drained {
		l.times.looked = l.times.now
	}
}

// look looks at the ring once more before requests are published: a guest that waits for them will
// send its next ones only then, and these have not been in the ring since the look before.
func (l *loop) look() {
	if l.drained && l.q.Empty() {
		l.times.looked = l.times.now
	}
}

// kicked tells of a kick that arrived, if it was one and no timer's.
func (l *loop) kicked(read int32) {
	if read > 0 && l.q.KickFD() >= 0 {
		probe.Kick(l.dev.opts.Volume, uint64(l.q.Index()))
	}
}

// record notes a request that is finished.
func (l *loop) record(r *request) {
	l.tally.add(r.kind, r.bytes, Status(r.status[0]))
	n := len(l.records)
	l.records = append(l.records, probe.Request{})
	to := &l.records[n] // field by field: as a whole it would be made elsewhere and copied
	to.Looked, to.Taken, to.Settled = r.looked, r.taken, l.times.now
	to.Handed, to.Completed, to.Epoch = r.io.Handed, r.io.Completed, r.io.Epoch
	to.Device = min(r.io.Device, l.times.now-r.taken)
	to.Sector, to.Bytes = r.sector, uint32(min(r.bytes, math.MaxUint32))
	to.Queue, to.Type, to.Status = uint16(l.q.Index()), r.kind, r.status[0]
}

// tell tells of what was published just now.
func (l *loop) tell(notified bool) {
	volume := l.dev.opts.Volume
	if notified {
		probe.Notify(volume, uint64(l.q.Index()))
	}
	for i := range l.records {
		l.records[i].Published = l.times.now
	}
	l.tally.time(l.records)
	inFlight := uint64(len(l.requests) - len(l.free))
	for rest := l.records; len(rest) > 0; {
		n := min(len(rest), probe.MaxRequests)
		probe.Requests(rest[:n], volume, inFlight)
		rest = rest[n:]
	}
	l.records = l.records[:0]
}
