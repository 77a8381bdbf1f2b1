package pair

import (
	"flag"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"

	"github.com/belay-vm/belay/colo/sim"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run this seed alone, and print what happens")
	simWant  = flag.Int("sim.checkpoints", 2000, "how many checkpoints to simulate")
	simFirst = flag.Uint64("sim.first", 1, "the first seed")
)

func simulate(t *testing.T, o sim.Options) sim.Result { return simulateWithout(t, o, 0) }

// simulateWithout runs a seed without some rules. One processor and no garbage collection meanwhile, so that
// goroutines take turns in the same order each time.
func simulateWithout(t *testing.T, o sim.Options, without rule) (r sim.Result) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(*testing.T) {
		sides := newSimSides(o.Seed)
		sides.without, sides.broken = without, o.Broken
		o.Sides = sides
		r = sim.Run(o)
		sides.end()
	})
	return r
}

// TestSim lives many lives of a pair that is real but for QEMU, the guest, the network and the disks.
func TestSim(t *testing.T) {
	if *simSeed != 0 {
		r := simulate(t, sim.Options{Seed: *simSeed, Trace: true})
		for _, line := range r.Trace {
			t.Log(line)
		}
		t.Logf("%d checkpoints, %v", r.Checkpoints, r.Lives)
		if r.Violation != "" {
			t.Error(r.Violation)
		}
		return
	}
	if testing.Short() { // under the race detector, which takes its time
		*simWant = min(*simWant, 100)
	}
	sum := sim.Tally{}
	for seed := *simFirst; sum.Checkpoints < *simWant; seed++ {
		r := simulate(t, sim.Options{Seed: seed})
		if r.Violation != "" {
			t.Fatalf("seed %d %v: %s\nagain: go test ./internal/pair -run TestSim -sim.seed=%d -v",
				seed, r.Lives, r.Violation, seed)
		}
		sum.Add(r)
	}
	for _, line := range sum.Lines() {
		t.Log(line)
	}
}
