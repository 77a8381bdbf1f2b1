package trace

import (
	"time"

	"github.com/belay-vm/belay/internal/hist"
)

// noon is when the tests' clock is at 0.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// request counts n requests that took so long in the ring, the store, the device and publication.
func (c *Counts) request(n, bytes uint64, ns ...uint64) *Counts {
	total := uint64(0)
	for i, t := range ns {
		total += t
		c.count(Ring+Part(i), n, t)
	}
	c.count(Total, n, total)
	c.Requests += n
	c.Bytes += n * bytes
	return c
}

func (c *Counts) count(p Part, n, ns uint64) {
	c.Ns[p] += n * ns
	c.Parts[p][hist.Slot(ns)] += n
}

var (
	reads  = Key{Queue: 0, Type: "read", Size: "<=4K"}
	writes = Key{Queue: 1, Type: "write", Size: "<=64K"}
	flush  = Key{Queue: 1, Type: "flush", Size: "none"}
)

// example is an interval of a second with everything in it.
func example() *Interval {
	return &Interval{
		Time: noon, Span: time.Second,
		Groups: map[Key]*Counts{
			reads: new(Counts).request(1000, 4096, 1000, 2000, 90_000, 7000),
			writes: new(Counts).request(200, 65536, 1000, 19_000, 970_000, 10_000).
				request(2, 65536, 1000, 50_000_000, 970_000, 10_000),
			flush: new(Counts).request(10, 0, 1000, 4_000_000, 5_000_000, 2000),
		},
		Kernel: map[KernelKey]*Kernel{
			{"io_uring", "writev"}: {Operations: 50, Bytes: 50 << 20, Punted: 3, Ns: 50_000_000,
				Latency: *histogram(50, 1_000_000)},
			{"block device", "write"}: {Operations: 60, Ns: 54_000_000, Latency: *histogram(60, 900_000)},
		},
		Tally: Tally{Kicks: 500, Notifications: 400, Dropped: 1, FlushRounds: 2, FlushNs: 10_000_000},
		Events: []Event{
			{Time: noon.Add(100 * time.Millisecond), Kind: Started, Epoch: 3, Ns: 12_000},
			{Time: noon.Add(300 * time.Millisecond), Kind: Sealed, Epoch: 3, Ns: 200_000_000},
		},
		Outliers: []Outlier{{Time: noon.Add(400 * time.Millisecond), Type: "write", Queue: 1, Sector: 77,
			Bytes: 65536, Epoch: 3, Ns: Times{50_981_000, 1000, 50_000_000, 970_000, 10_000}}},
	}
}

func histogram(n, ns uint64) *hist.Histogram {
	h := new(hist.Histogram)
	h[hist.Slot(ns)] = n
	return h
}
