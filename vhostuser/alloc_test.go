package vhostuser

import "testing"

// TestRequestAllocatesNothing : a request costs no allocation, from Next to Publish.
func TestRequestAllocatesNothing(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		for _, indirect := range []bool{false, true} {
			r := newRig(t, rigOptions{packed: packed, eventIdx: true, size: 16,
				log: heapLog(1 << 17), fl: heapFlight(1, 16, packed)})
			_, give := eventfd(t)
			r.q.setCall(give)
			chains := make([]Chain, 4)
			buf := make([]byte, 16)
			got := testing.AllocsPerRun(1000, func() { requestBatch(r, chains, buf, indirect) })
			if got != 0 {
				t.Errorf("indirect %v: %v allocations", indirect, got)
			}
		}
	})
}

var requestSegs = []seg{{dataAt, 16, false}, {dataAt + 512, 4096, true}, {dataAt + 16, 1, true}}

// requestBatch sends four requests of a header, data and a status byte through the ring.
func requestBatch(r *rig, chains []Chain, buf []byte, indirect bool) {
	for range chains {
		r.drv.add(indirect, requestSegs...)
	}
	r.q.Disarm()
	for i := range chains {
		r.next(&chains[i])
		if _, err := chains[i].CopyIn(buf, 0); err != nil {
			r.Fatal(err)
		}
	}
	for i := range chains {
		if _, err := chains[i].CopyOut(buf[:1], 4096); err != nil {
			r.Fatal(err)
		}
		r.q.Complete(&chains[i], 4097)
	}
	r.publish()
	if more, err := r.q.Arm(); more || err != nil {
		r.Fatalf("Arm: %v, %v", more, err)
	}
	for range chains {
		if _, _, ok := r.drv.poll(); !ok {
			r.Fatal("a request is missing")
		}
	}
}

// BenchmarkRequest is a batch of four requests, the guest's side included.
func BenchmarkRequest(b *testing.B) {
	for _, packed := range []bool{false, true} {
		name := map[bool]string{false: "split", true: "packed"}[packed]
		b.Run(name, func(b *testing.B) {
			r := newRig(b, rigOptions{packed: packed, eventIdx: true, size: 64})
			chains, buf := make([]Chain, 4), make([]byte, 16)
			b.ReportAllocs()
			for b.Loop() {
				requestBatch(r, chains, buf, true)
			}
		})
	}
}
