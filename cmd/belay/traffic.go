package main

import (
	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/hist"
)

// traffic is what the device has counted, in the units of metrics.
func traffic(queues []blk.QueueStats) []control.Traffic {
	var out []control.Traffic
	for i := range queues {
		for kind := range blk.NumKinds {
			k := &queues[i].Kinds[kind]
			out = append(out, control.Traffic{
				Queue: i, Type: kind.String(),
				Requests: k.Requests, Bytes: k.Bytes, Errors: k.Errors,
				Latency: histogram(k),
			})
		}
	}
	return out
}

// The bounds of the buckets that metrics have, in nanoseconds: from about a microsecond to 17 seconds.
const (
	firstBound = 1 << 10
	lastBound  = 1 << 34
)

// histogram turns the device's slots, each for itself, into cumulative buckets in seconds: one for
// each octave. What lies above the last bound is in the count alone.
func histogram(k *blk.KindStats) control.Histogram {
	h := control.Histogram{Sum: float64(k.LatencyNs) / 1e9, Buckets: map[float64]uint64{}}
	for slot, n := range k.Latency {
		h.Count += n
		end := hist.Upper(slot)
		if end >= firstBound && end <= lastBound && end&(end-1) == 0 {
			h.Buckets[float64(end)/1e9] = h.Count
		}
	}
	return h
}

// malformed counts the chains that were no requests.
func malformed(queues []blk.QueueStats) (n uint64) {
	for i := range queues {
		n += queues[i].Malformed
	}
	return n
}
