package pair

import (
	"flag"
	"testing"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/colo/sim"
)

var simBrokenSeeds = flag.Uint64("sim.broken", 400, "within how many seeds a broken rule must be caught")

// TestSimBroken leaves out rule by rule about disks; the simulation must find it.
func TestSimBroken(t *testing.T) {
	for _, b := range []struct {
		name string
		rule rule
		colo colo.Rule
	}{
		{name: "answer before the tail is complete", colo: colo.AnswerAfterAck | colo.LoadComplete},
		{name: "rings before the seal is put away", colo: colo.StartAfterAck | colo.CheckDigest},
		{name: "DropOwn", rule: ruleDropOwn},
		{name: "DropStaged", rule: ruleDropStaged},
		{name: "SyncFirst", rule: ruleSyncFirst},
		{name: "ClaimDurable", rule: ruleClaimDurable},
		{name: "MarkSyncing", rule: ruleMarkSyncing},
		{name: "AllChanged", rule: ruleAllChanged},
		{name: "OwnLine", rule: ruleOwnLine},
		{name: "FreshMarks", rule: ruleFreshMarks},
		{name: "WholePlan", rule: ruleWholePlan},
	} {
		t.Run(b.name, func(t *testing.T) {
			for seed := uint64(1); seed <= *simBrokenSeeds; seed++ {
				r := simulateWithout(t, sim.Options{Seed: seed, Broken: b.colo}, b.rule)
				if r.Violation != "" {
					t.Logf("seed %d %v: %s", seed, r.Lives, r.Violation)
					return
				}
			}
			t.Errorf("not found in %d seeds", *simBrokenSeeds)
		})
	}
}
