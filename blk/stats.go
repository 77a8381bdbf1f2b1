package blk

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
)

// Kind is a sort of request, as far as statistics tell them apart.
type Kind = probe.Type

// The kinds of requests. KindOther are those of unknown type, or too short to have one.
const (
	KindRead        = probe.Read
	KindWrite       = probe.Write
	KindFlush       = probe.Flush
	KindDiscard     = probe.Discard
	KindWriteZeroes = probe.WriteZeroes
	KindGetID       = probe.GetID
	KindOther       = probe.Other
	NumKinds        = probe.NumTypes
)

// KindStats are the requests of one kind that a queue has completed.
type KindStats struct {
	Requests uint64
	Bytes    uint64 // of data moved or given up
	Errors   uint64 // those that ended with another status than OK

	// From the earliest moment at which they can have been in the ring (probe.Request.Looked) until
	// the guest could see their answer.
	LatencyNs uint64 // sum
	Latency   hist.Histogram
}

// QueueStats are what a queue has completed since the device was made.
type QueueStats struct {
	Kinds     [NumKinds]KindStats
	Malformed uint64 // chains given back with nothing written
}

// queueCount and queueLatency are the live form of QueueStats, in memory that may be shared with
// whoever looks: their layout is that of struct io_count and struct io_latency in bpf/c. They are
// written by the queue's worker and read by anybody. A reader may see a request in one of the
// numbers and not yet in another.
type (
	queueCount struct {
		kinds     [NumKinds]kindCount
		malformed uint64
	}
	kindCount    struct{ requests, bytes, errors, ns uint64 }
	queueLatency [NumKinds]hist.Histogram
)

// Bytes per queue of the memory for Options.Count and Options.Latency.
const (
	CountSize   = int(unsafe.Sizeof(queueCount{}))
	LatencySize = int(unsafe.Sizeof(queueLatency{}))
)

// counters are what a worker counts in.
type counters struct {
	count   *queueCount
	latency *queueLatency
}

// countersOf finds the counters of a queue in the device's memory.
func (o *Options) countersOf(queue int) counters {
	return counters{
		(*queueCount)(unsafe.Pointer(&o.Count[queue*CountSize])),
		(*queueLatency)(unsafe.Pointer(&o.Latency[queue*LatencySize])),
	}
}

// withCounters makes memory for the counters where none was given, and refuses what does not suit.
func (o Options) withCounters() (Options, error) {
	for _, m := range []struct {
		name string
		mem  *[]byte
		size int
	}{
		{"memory for counts", &o.Count, o.Queues * CountSize},
		{"memory for latencies", &o.Latency, o.Queues * LatencySize},
	} {
		if *m.mem == nil {
			words := make([]uint64, m.size/8)
			*m.mem = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), m.size)
		}
		if len(*m.mem) < m.size || uintptr(unsafe.Pointer(unsafe.SliceData(*m.mem)))%8 != 0 {
			return o, &OptionError{m.name, fmt.Sprintf("of %d bytes", len(*m.mem)),
				fmt.Sprintf("%d, on a multiple of 8", m.size)}
		}
	}
	return o, nil
}

func (c counters) read() (s QueueStats) {
	for k := range s.Kinds {
		from, to := &c.count.kinds[k], &s.Kinds[k]
		to.Requests, to.Bytes = atomic.LoadUint64(&from.requests), atomic.LoadUint64(&from.bytes)
		to.Errors, to.LatencyNs = atomic.LoadUint64(&from.errors), atomic.LoadUint64(&from.ns)
		for i := range to.Latency {
			to.Latency[i] = atomic.LoadUint64(&c.latency[k][i])
		}
	}
	s.Malformed = atomic.LoadUint64(&c.count.malformed)
	return s
}

// tally adds up what a round has completed, so that each counter is written once for a round and
// not once for each request: an atomic addition costs as much as all the rest.
type tally struct {
	to    counters
	kinds [NumKinds]kindCount
	dirty uint32 // bit k: kinds[k] is not empty
}

// malformed counts a chain that was no request.
func (t *tally) malformed() { atomic.AddUint64(&t.to.count.malformed, 1) }

// add counts a request of n bytes.
func (t *tally) add(k Kind, n uint64, s Status) {
	to := &t.kinds[k]
	t.dirty |= 1 << k
	to.requests++
	if s == StatusOK {
		to.bytes += n
	} else {
		to.errors++
	}
}

// flush moves everything to the counters.
func (t *tally) flush() {
	for ; t.dirty != 0; t.dirty &= t.dirty - 1 {
		k := bits.TrailingZeros32(t.dirty)
		t.kinds[k].moveTo(&t.to.count.kinds[k])
	}
}

// time counts how long requests took that are published. Those that came together have left
// together, mostly.
func (t *tally) time(records []probe.Request) {
	for i := 0; i < len(records); {
		r := &records[i]
		took := r.Total()
		n := uint64(1)
		for i++; i < len(records) && records[i].Type == r.Type && records[i].Looked == r.Looked; i++ {
			n++
		}
		atomic.AddUint64(&t.to.latency[r.Type][hist.Slot(took)], n)
		atomic.AddUint64(&t.to.count.kinds[r.Type].ns, n*took)
	}
}

// moveTo adds what was counted to the live counters.
func (c *kindCount) moveTo(live *kindCount) {
	atomic.AddUint64(&live.requests, c.requests)
	if c.bytes != 0 {
		atomic.AddUint64(&live.bytes, c.bytes)
	}
	if c.errors != 0 {
		atomic.AddUint64(&live.errors, c.errors)
	}
	*c = kindCount{}
}
