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
	sum := Tally{}
	for seed := *firstFlag; sum.Checkpoints < *wantFlag; seed++ {
		r := Run(Options{Seed: seed})
		if r.Violation != "" {
			t.Fatalf("seed %d %v: %s\nagain: go test ./colo/sim -run TestSim -sim.seed=%d -v",
				seed, r.Lives, r.Violation, seed)
		}
		sum.Add(r)
	}
	for _, line := range sum.Lines() {
		t.Log(line)
	}
}

func one(t *testing.T, o Options) {
	t.Helper()
	r := Run(o)
	for _, line := range r.Trace {
		t.Log(line)
	}
	t.Logf("%d checkpoints, %v", r.Checkpoints, r.Lives)
	if r.Violation != "" {
		t.Error(r.Violation)
	}
}
