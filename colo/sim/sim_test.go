package sim

import (
	"flag"
	"testing"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "run this seed alone, and print what happens")
	wantFlag  = flag.Int("sim.checkpoints", 20_000, "how many checkpoints to simulate")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed")
)

func TestSim(t *testing.T) {
	if *seedFlag != 0 {
		one(t, Options{Seed: *seedFlag, Trace: true})
		return
	}
	ends := map[string]map[string]int{}
	total := 0
	for seed := *firstFlag; total < *wantFlag; seed++ {
		r := Run(Options{Seed: seed})
		if r.Violation != "" {
			t.Fatalf("seed %d (%s): %s\nagain: go test ./colo/sim -run TestSim -sim.seed=%d -v",
				seed, r.Fault, r.Violation, seed)
		}
		total += r.Checkpoints
		if ends[r.Fault] == nil {
			ends[r.Fault] = map[string]int{}
		}
		ends[r.Fault][r.End]++
	}
	t.Logf("%d checkpoints", total)
	for _, name := range faultNames {
		t.Logf("%-18s %v", name, ends[name])
	}
}

func one(t *testing.T, o Options) {
	t.Helper()
	r := Run(o)
	for _, line := range r.Trace {
		t.Log(line)
	}
	t.Logf("%d checkpoints, fault %s, end %s", r.Checkpoints, r.Fault, r.End)
	if r.Violation != "" {
		t.Error(r.Violation)
	}
}
