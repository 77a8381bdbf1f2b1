package blk

import (
	"fmt"
	"testing"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/vhostuser"
)

// TestLooks goes through looks at a ring and says since when a chain found next has been in it.
func TestLooks(t *testing.T) {
	var x times
	for i, c := range []struct {
		before, now uint64
		n           int
		drained     bool
		rest        int
		want        uint64
	}{
		{before: 100, now: 100, drained: true, want: 100},           // empty: since this look
		{before: 100, now: 200, n: 3, drained: true, want: 200},     // all taken: since they were
		{before: 200, now: 300, n: 8, rest: -1, want: 300},          // a whole ring taken: no more was in it
		{before: 300, now: 400, n: 5, rest: 10, want: 300},          // some may be left, and have waited
		{before: 400, now: 500, rest: 10, want: 300},                // no room at all
		{before: 500, now: 600, n: 5, rest: 10, want: 300},          // those that may have waited are gone now
		{before: 600, now: 700, n: 4, rest: 10, want: 300},          // not yet all that came meanwhile
		{before: 700, now: 800, n: 7, rest: 10, want: 600},          // but now
		{before: 800, now: 900, n: 1, drained: true, want: 900},     // none is left
		{before: 900, now: 900, drained: true, rest: 10, want: 900}, // nor came
	} {
		x.now = c.now
		x.took(c.n, c.before, c.drained, c.rest)
		if x.looked != c.want {
			t.Errorf("look %d: since %d, want %d", i, x.looked, c.want)
		}
	}
}

func TestRecord(t *testing.T) {
	o, err := Options{Queues: 1, Volume: 7}.withCounters()
	must(t, err)
	l := &loop{dev: &Device{opts: o}, q: new(vhostuser.Queue), tally: tally{to: o.countersOf(0)}}
	r := request{kind: KindWrite, bytes: 4096, sector: 24, looked: 100, taken: 150}
	r.io.Times = bio.Times{Handed: 200, Completed: 700, Device: 400, Epoch: 3}
	r.status[0] = byte(StatusIOError)
	l.times.now = 800
	l.record(&r)
	r = request{kind: KindDiscard, bytes: 5 << 30, looked: 100, taken: 800}
	r.io.Device = 1 // a lane that does not tell the truth
	l.record(&r)
	l.times.now = 1000
	l.tell(true)
	want := []probe.Request{
		{Looked: 100, Taken: 150, Handed: 200, Completed: 700, Settled: 800, Published: 1000, Device: 400,
			Sector: 24, Epoch: 3, Bytes: 4096, Type: KindWrite, Status: 1},
		{Looked: 100, Taken: 800, Settled: 800, Published: 1000, Bytes: 1<<32 - 1, Type: KindDiscard},
	}
	for i, got := range l.records[:2] {
		if got != want[i] {
			t.Errorf("record %d is %+v, want %+v", i, got, want[i])
		}
		if sum := got.Ring() + got.Store() + got.Device + got.Publication(); sum != got.Total() {
			t.Errorf("its parts add up to %d of %d", sum, got.Total())
		}
	}
	l.tally.flush()
	s := o.countersOf(0).read()
	if d := s.Kinds[KindDiscard]; d.Bytes != 5<<30 || d.LatencyNs != 900 || d.Latency.Count() != 1 {
		t.Errorf("discards: %d bytes, %d ns, %d", d.Bytes, d.LatencyNs, d.Latency.Count())
	}
	if len(l.records) != 0 {
		t.Error("records are left")
	}
}

// BenchmarkRecords is what clocks, records and counters cost for a batch of requests while nobody
// watches.
func BenchmarkRecords(b *testing.B) {
	for _, batch := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { benchRecords(b, batch) })
	}
}

func benchRecords(b *testing.B, batch int) {
	o, err := Options{Queues: 1}.withCounters()
	must(b, err)
	l := &loop{dev: &Device{opts: o}, q: new(vhostuser.Queue), tally: tally{to: o.countersOf(0)}}
	var r request
	for b.Loop() {
		l.clock() // taken; the lane reads it twice, too
		probe.Now()
		probe.Now()
		l.clock()
		for range batch {
			l.record(&r)
		}
		l.tally.flush()
		l.clock()
		l.tell(false)
	}
}
