package blk

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
)

func TestTally(t *testing.T) {
	o, err := Options{Queues: 2}.withCounters()
	must(t, err)
	y := tally{to: o.countersOf(1)}
	records := []probe.Request{
		{Looked: 1000, Published: 2500, Type: KindRead},
		{Looked: 1000, Published: 2500, Type: KindRead},
		{Looked: 0, Published: 3000, Type: KindRead},
		{Looked: 2500, Published: 2500, Type: KindOther},
	}
	for range 2 {
		y.add(KindRead, 512, StatusOK)
		y.add(KindRead, 512, StatusOK)
		y.add(KindRead, 1024, StatusOK)
		y.add(KindOther, 7, StatusUnsupported)
		y.flush()
		y.time(records)
	}
	y.flush()
	y.malformed()
	s := o.countersOf(1).read()
	want := KindStats{Requests: 6, Bytes: 4096, LatencyNs: 12000}
	want.Latency[hist.Slot(1500)], want.Latency[hist.Slot(3000)] = 4, 2
	if got := s.Kinds[KindRead]; got != want {
		t.Errorf("reads: %+v, want %+v", got, want)
	}
	want = KindStats{Requests: 2, Errors: 2}
	want.Latency[0] = 2
	if got := s.Kinds[KindOther]; got != want {
		t.Errorf("others: %+v, want %+v", got, want)
	}
	if s.Malformed != 1 {
		t.Errorf("%d malformed", s.Malformed)
	}
	if o.countersOf(0).read() != (QueueStats{}) {
		t.Error("another queue has counted it, too")
	}
	if y.kinds != [NumKinds]kindCount{} || y.dirty != 0 {
		t.Errorf("the tally is not empty: %+v", y)
	}
}

// TestCounterLayout has the sizes of the structs in bpf/c.
func TestCounterLayout(t *testing.T) {
	if CountSize != 232 || LatencySize != 7*256*8 {
		t.Errorf("a queue's counters have %d and %d bytes", CountSize, LatencySize)
	}
	count := make([]uint64, 2*CountSize/8)
	o := Options{Queues: 2, Count: bytesOf(count), Latency: make([]byte, 2*LatencySize)}
	o, err := o.withCounters()
	must(t, err)
	y := tally{to: o.countersOf(1)}
	y.add(KindWrite, 4096, StatusOK)
	y.add(KindOther, 0, StatusUnsupported)
	y.flush()
	y.malformed()
	want := map[int]uint64{29 + 4: 1, 29 + 5: 4096, 29 + 24: 1, 29 + 26: 1, 29 + 28: 1}
	for i, n := range count {
		if n != want[i] {
			t.Errorf("word %d is %d, want %d", i, n, want[i])
		}
	}
}

func TestCounterMemoryIsJudged(t *testing.T) {
	count, latency := make([]byte, CountSize+8), make([]byte, LatencySize)
	for _, o := range []Options{
		{Queues: 1, Count: count[:CountSize-1], Latency: latency},
		{Queues: 1, Count: count, Latency: latency[:8]},
		{Queues: 1, Count: count[1:], Latency: latency},
		{Queues: 2, Count: count, Latency: latency},
		{Queues: 1, Count: []byte{}},
	} {
		var refused *OptionError
		if _, err := o.withCounters(); !errors.As(err, &refused) {
			t.Errorf("%d queues with %d and %d bytes: %v", o.Queues, len(o.Count), len(o.Latency), err)
		}
	}
}

func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := range NumKinds {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		} else {
			seen[name] = true
		}
	}
}
