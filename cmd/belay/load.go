package main

import (
	"context"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/probe"
)

// Load is what the device has counted.
func (s *served) Load(context.Context) (control.Load, error) {
	return loadOf(s.stats()), nil
}

// loadOf puts the device's counters in the words of the control interface. What has counted nothing
// is left out.
func loadOf(queues []blk.QueueStats) control.Load {
	l := control.Load{At: probe.Now(), Queues: []control.QueueLoad{}}
	for i := range queues {
		for kind := range blk.NumKinds {
			k := &queues[i].Kinds[kind]
			if k.Requests == 0 {
				continue
			}
			q := control.QueueLoad{Queue: i, Type: kind.String(), Requests: k.Requests, Bytes: k.Bytes,
				Errors: k.Errors, Ns: k.LatencyNs, Latency: [][2]uint64{}}
			for slot, n := range k.Latency {
				if n > 0 {
					q.Latency = append(q.Latency, [2]uint64{uint64(slot), n})
				}
			}
			l.Queues = append(l.Queues, q)
		}
	}
	return l
}
