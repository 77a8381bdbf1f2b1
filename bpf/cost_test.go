package bpf

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// BenchmarkRequests measures a batch of records of a plausible load: what it costs the worker when
// nobody looks, when a tracer does, and with the kernel's side.
func BenchmarkRequests(b *testing.B) {
	b.Run("kick", func(b *testing.B) {
		p := start(b)
		p.attach(Options{Signals: true})
		p.tell(opKick, 1000, nil)
		b.ReportMetric(float64(p.tell(opKick, uint64(b.N), nil))/float64(b.N), "ns/kick")
		b.ReportMetric(0, "ns/op")
	})
	for name, attach := range map[string]func(*target){
		"unattached": func(*target) {},
		"attached":   func(p *target) { p.attach(Options{Outliers: time.Second}) },
	} {
		for _, n := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := start(b)
				attach(p)
				records := plausible(n)
				p.tell(opRequests, 1000, records)
				took := p.tell(opRequests, uint64(b.N), records)
				for range 4 { // others use this machine, too
					took = min(took, p.tell(opRequests, uint64(b.N), records))
				}
				b.ReportMetric(float64(took)/float64(b.N), "ns/batch")
				b.ReportMetric(float64(took)/float64(b.N)/float64(n), "ns/request")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
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
