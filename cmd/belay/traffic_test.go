package main

import (
	"testing"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/hist"
)

func TestTraffic(t *testing.T) {
	var q blk.QueueStats
	w := &q.Kinds[blk.KindWrite]
	w.Requests, w.Bytes, w.Errors, w.LatencyNs = 4, 4096, 1, 5_000_000
	w.Latency[hist.Slot(500)], w.Latency[hist.Slot(5000)], w.Latency[hist.Slots-1] = 1, 2, 1
	q.Malformed = 3
	all := traffic([]blk.QueueStats{{}, q})
	if len(all) != 2*int(blk.NumKinds) {
		t.Fatalf("%d entries", len(all))
	}
	got := all[int(blk.NumKinds)+int(blk.KindWrite)]
	if got.Queue != 1 || got.Type != "write" || got.Requests != 4 || got.Bytes != 4096 || got.Errors != 1 {
		t.Errorf("counters: %+v", got)
	}
	h := got.Latency
	if h.Count != 4 || h.Sum != 0.005 || len(h.Buckets) != 25 {
		t.Errorf("histogram: %+v", h)
	}
	// Cumulative, in seconds: one below 1 µs, three below 8 µs, the fourth above every bound.
	for bound, want := range map[float64]uint64{1.024e-6: 1, 4.096e-6: 1, 8.192e-6: 3, 17.179869184: 3} {
		if n, ok := h.Buckets[bound]; !ok || n != want {
			t.Errorf("up to %v s: %d (%v), want %d", bound, n, ok, want)
		}
	}
	if n := malformed([]blk.QueueStats{q, q}); n != 6 {
		t.Errorf("malformed: %d", n)
	}
}
