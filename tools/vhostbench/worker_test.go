package main

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// rig is a worker that the test drives.
func rig(tb testing.TB, socket string, packed bool, wait string) *worker {
	o := defaults()
	o.socket, o.op, o.packed, o.wait, o.flushEvery = socket, opMix, packed, wait, 50
	backend, err := openProcess(0)
	if err != nil {
		tb.Fatal(err)
	}
	j := &job{o: &o, backend: backend, base: time.Now()}
	if err := j.connect(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := j.front.Close(); err != nil {
			tb.Error(err)
		}
	})
	w := j.workers[0]
	w.ring.SuppressCalls(w.poll)
	w.phase = counting
	w.edge = 1<<63 - 1
	return w
}

// TestNothingIsAllocatedPerRequest : from the choice of an offset to the histogram.
func TestNothingIsAllocatedPerRequest(t *testing.T) {
	for _, packed := range []bool{false, true} {
		for _, wait := range []string{waitPoll, waitEventfd} {
			t.Run(fmt.Sprintf("packed=%v,%s", packed, wait), func(t *testing.T) {
				w := rig(t, serve(t, &nullDevice{bytes: 1 << 20}).socket, packed, wait)
				round := func() {
					if err := w.turn(); err != nil {
						t.Fatal(err)
					}
					if err := w.submit(); err != nil {
						t.Fatal(err)
					}
					for before := w.counted.requests; w.counted.requests == before; runtime.Gosched() {
						if err := w.reap(); err != nil {
							t.Fatal(err)
						}
					}
				}
				for range 20 {
					round()
				}
				if got := testing.AllocsPerRun(200, round); got != 0 {
					t.Errorf("%v allocations a round", got)
				}
				for w.left = 0; w.disk.InFlight() > 0; {
					if err := w.reap(); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}
