package bpf

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// BenchmarkAttached measures what a batch of records of a plausible load costs the worker when
// nobody looks and when a tracer does, and a kick. A figure is the best of many short stretches:
// others use this machine, too.
func BenchmarkAttached(b *testing.B) {
	for _, o := range []*Options{nil, {Outliers: time.Second, Signals: true}} {
		name := "attached"
		if o == nil {
			name = "unattached"
		}
		for _, n := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) { cost(b, o, opRequests, plausible(n)) })
		}
		b.Run(name+"/kick", func(b *testing.B) { cost(b, o, opKick, nil) })
	}
}

func cost(b *testing.B, o *Options, op uint32, records []probe.Request) {
	p := start(b)
	if o != nil {
		p.attach(*o)
	}
	const stretch = 1000
	best := p.tell(op, stretch, records)
	for b.Loop() {
		best = min(best, p.tell(op, stretch, records))
	}
	ns := float64(best) / stretch
	b.ReportMetric(ns, "ns/batch")
	b.ReportMetric(ns/float64(max(len(records), 1)), "ns/request")
	b.ReportMetric(0, "ns/op")
}

// plausible are reads and writes of 4 KiB, a few larger, that took some 20 to 500 us.
func plausible(n int) []probe.Request {
	rng := rand.New(rand.NewPCG(5, 5))
	records := make([]probe.Request, n)
	for i := range records {
		us := func(most int) uint64 { return 1000 * (1 + rng.Uint64N(uint64(most))) }
		r := &records[i]
		*r = probe.Request{Looked: us(1000), Device: 20_000 + us(400), Type: probe.Type(rng.IntN(2)), Bytes: 4096}
		if rng.IntN(8) == 0 {
			r.Bytes = 64 << 10
		}
		r.Taken = r.Looked + us(20)
		r.Settled = r.Taken + r.Device + us(20)
		r.Published = r.Settled + us(5)
	}
	return records
}
