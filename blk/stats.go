package blk

import (
	"math/bits"
	"sync/atomic"
)

// Kind is a sort of request, as far as statistics tell them apart.
type Kind uint8

// The kinds of requests. KindOther are those of unknown type, or too short to have one.
const (
	KindRead Kind = iota
	KindWrite
	KindFlush
	KindDiscard
	KindWriteZeroes
	KindGetID
	KindOther
	NumKinds
)

var kindNames = [NumKinds]string{"read", "write", "flush", "discard", "write_zeroes", "get_id", "other"}

// String is the kind's name, as metrics carry it.
func (k Kind) String() string { return kindNames[k] }

// LatencyBuckets is the number of buckets of a latency histogram. Bucket i counts requests that
// took less than 2^i microseconds and no less than half of that; the last one counts all above.
const LatencyBuckets = 24

// KindStats are the requests of one kind that a queue has completed.
type KindStats struct {
	Requests  uint64
	Bytes     uint64 // of data moved or given up
	Errors    uint64 // those that ended with another status than OK
	LatencyNs uint64 // sum
	Latency   [LatencyBuckets]uint64
}

// QueueStats are what a queue has completed since the device was made.
type QueueStats struct {
	Kinds     [NumKinds]KindStats
	Malformed uint64 // chains given back with nothing written
}

// counters are the live form of KindStats: written by the queue's worker, read by anybody. A
// reader may see a request counted in one of them and not yet in another.
type counters struct {
	requests, bytes, errors, latencyNs atomic.Uint64
	latency                            [LatencyBuckets]atomic.Uint64
}

// queueCounters are the live form of QueueStats.
type queueCounters struct {
	kinds     [NumKinds]counters
	malformed atomic.Uint64
}

func (c *queueCounters) read() (s QueueStats) {
	for k := range s.Kinds {
		from, to := &c.kinds[k], &s.Kinds[k]
		to.Requests, to.Bytes = from.requests.Load(), from.bytes.Load()
		to.Errors, to.LatencyNs = from.errors.Load(), from.latencyNs.Load()
		for i := range to.Latency {
			to.Latency[i] = from.latency[i].Load()
		}
	}
	s.Malformed = c.malformed.Load()
	return s
}

// tally collects what a round completed, so that each counter is written once per round and not
// once per request: an atomic addition costs as much as all the rest.
type tally struct {
	kinds [NumKinds]kindTally
	dirty uint32 // bit k: kinds[k] is not empty
}

type kindTally struct {
	requests, bytes, errors, latencyNs uint64
	latency                            [LatencyBuckets]uint32
	dirty                              uint32 // bit i: latency[i] is not 0
}

// add counts a request that took ns nanoseconds.
func (t *tally) add(k Kind, n uint64, s Status, ns int64) {
	to := &t.kinds[k]
	t.dirty |= 1 << k
	to.requests++
	if s == StatusOK {
		to.bytes += n
	} else {
		to.errors++
	}
	to.latencyNs += uint64(ns)
	b := bucket(ns)
	to.latency[b]++
	to.dirty |= 1 << b
}

func bucket(ns int64) int {
	return min(bits.Len64(uint64(ns)/1000), LatencyBuckets-1)
}

// flush moves everything to the counters.
func (t *tally) flush(c *queueCounters) {
	for ; t.dirty != 0; t.dirty &= t.dirty - 1 {
		k := bits.TrailingZeros32(t.dirty)
		t.kinds[k].flush(&c.kinds[k])
	}
}

func (t *kindTally) flush(c *counters) {
	c.requests.Add(t.requests)
	if t.bytes != 0 {
		c.bytes.Add(t.bytes)
	}
	if t.errors != 0 {
		c.errors.Add(t.errors)
	}
	c.latencyNs.Add(t.latencyNs)
	t.requests, t.bytes, t.errors, t.latencyNs = 0, 0, 0, 0
	for ; t.dirty != 0; t.dirty &= t.dirty - 1 {
		i := bits.TrailingZeros32(t.dirty)
		c.latency[i].Add(uint64(t.latency[i]))
		t.latency[i] = 0
	}
}
