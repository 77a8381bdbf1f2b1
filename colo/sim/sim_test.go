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

// TestDrift lets clocks differ by more than the promises allow for: then two may serve, and that is seen.
func TestDrift(t *testing.T) {
	for seed := range uint64(500) {
		r := Run(Options{Seed: seed, Drift: 0.3, only: []fault{faultIsolateP, faultMirrorP}})
		if r.Violation != "" {
			t.Logf("seed %d: %s", seed, r.Violation)
			return
		}
	}
	t.Error("nobody noticed")
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
