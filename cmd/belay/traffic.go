package main

import (
	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
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

// histogram turns the device's buckets, each for itself in powers of two of a microsecond, into
// cumulative ones in seconds. The last one has no upper bound and is in the count alone.
func histogram(k *blk.KindStats) control.Histogram {
	h := control.Histogram{Sum: float64(k.LatencyNs) / 1e9, Buckets: map[float64]uint64{}}
	for i, n := range k.Latency {
		h.Count += n
		if i < len(k.Latency)-1 {
			h.Buckets[float64(uint64(1)<<i)/1e6] = h.Count
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
