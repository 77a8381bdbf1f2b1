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
		name     string
		rule     rule
		colo     colo.Rule
		drift    float64
		only     string // the fault that can show it
		first    uint64 // the seed to begin with; 0: 1
		harmless string // why nothing can see it
	}{
		{name: "AnswerAfterAck, LoadComplete", colo: colo.AnswerAfterAck | colo.LoadComplete, first: 60},
		{name: "StartAfterAck, CheckDigest", colo: colo.StartAfterAck | colo.CheckDigest,
			only: "mirror link, backend p"},
		{name: "KeepPromise", colo: colo.KeepPromise, first: 20},
		{name: "clocks that differ by more than they may", drift: 0.3, only: "P isolated"},
		{name: "DropOwn", rule: ruleDropOwn},
		{name: "DropStaged", rule: ruleDropStaged},
		{name: "SyncFirst", rule: ruleSyncFirst, only: "both hosts"},
		{name: "ClaimDurable", rule: ruleClaimDurable},
		{name: "MarkSyncing", rule: ruleMarkSyncing, harmless: "a secondary's volume is never started as a " +
			"primary's; the rule is for those who open it by force"},
		{name: "AllChanged", rule: ruleAllChanged},
		{name: "OwnLine", rule: ruleOwnLine, harmless: "who has a checkpoint that another line left has " +
			"no partner that has it, too"},
		{name: "FreshMarks", rule: ruleFreshMarks, only: "operator"},
		{name: "WholePlan", rule: ruleWholePlan},
	} {
		t.Run(b.name, func(t *testing.T) {
			most := *simBrokenSeeds
			if b.harmless != "" {
				most /= 40
			}
			for seed := max(b.first, 1); seed <= b.first+most; seed++ {
				r := simulateWithout(t, sim.Options{Seed: seed, Broken: b.colo, Drift: b.drift, Only: b.only}, b.rule)
				if r.Violation == "" {
					continue
				}
				if b.harmless != "" {
					t.Errorf("seed %d: harmless because %s, but: %s", seed, b.harmless, r.Violation)
				}
				t.Logf("seed %d %v: %s", seed, r.Lives, r.Violation)
				return
			}
			if b.harmless == "" {
				t.Errorf("not found in %d seeds", most)
			}
		})
	}
}
