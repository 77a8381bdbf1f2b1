package sim

import (
	"flag"
	"testing"

	"github.com/belay-vm/belay/colo"
)

var brokenSeeds = flag.Uint64("sim.broken", 3000, "within how many seeds a broken rule must be caught")

// broken is a rule left out.
type broken struct {
	name     string
	rule     colo.Rule
	only     []fault   // the faults that can show it
	first    uint64    // the seed to begin with; 0: 1
	with     colo.Rule // left out, too, as it would catch it; leaving out this one alone does no harm
	harmless string    // why nothing can see it
}

var brokens = []broken{
	{name: "AnswerAfterDrain", rule: colo.AnswerAfterDrain},
	{name: "AnswerAfterAck", rule: colo.AnswerAfterAck},
	{name: "AnnounceStarts", rule: colo.AnnounceStarts},
	{name: "StartAfterAck", rule: colo.StartAfterAck, with: colo.CheckDigest,
		only: []fault{faultMirrorBackP}, first: 6150},
	{name: "AloneByWitness", rule: colo.AloneByWitness},
	{name: "YankFirst", rule: colo.YankFirst},
	{name: "HoldUnreachable", rule: colo.HoldUnreachable, harmless: "after the yank nothing loads " +
		"what the rings then do, and the deadline keeps it from the guest"},
	{name: "FenceLoser", rule: colo.FenceLoser},
	{name: "PublishByPromise", rule: colo.PublishByPromise},
	{name: "StopBeforeHandOver", rule: colo.StopBeforeHandOver},
	{name: "TellShutdown", rule: colo.TellShutdown},
	{name: "NoSealNoLoad", rule: colo.NoSealNoLoad, with: colo.CheckDigest, only: []fault{faultMirrorBackP}},
	{name: "LoadComplete", rule: colo.LoadComplete},
	{name: "LoadAgain", rule: colo.LoadAgain},
	{name: "ExitKeeps", rule: colo.ExitKeeps},
	{name: "CheckDigest", rule: colo.CheckDigest},
	{name: "BarrierAtStart", rule: colo.BarrierAtStart},
	{name: "BarrierAtAnnounce", rule: colo.BarrierAtAnnounce},
	{name: "KeepPromise", rule: colo.KeepPromise},
	{name: "TakeOverByWitness", rule: colo.TakeOverByWitness},
	{name: "YankOrphan", rule: colo.YankOrphan},
	{name: "ExitFirst", rule: colo.ExitFirst, only: []fault{faultDiskP}},
	{name: "HeedShutdown", rule: colo.HeedShutdown},
	{name: "GapPoisons", rule: colo.GapPoisons},
	{name: "SyncedOnly", rule: colo.SyncedOnly, harmless: "QEMU ends with its incoming migration; " +
		"the rule is for what is marked on the disk"},
}

// TestBroken leaves out rule by rule; the simulation must find it.
func TestBroken(t *testing.T) {
	for _, b := range brokens {
		t.Run(b.name, func(t *testing.T) {
			most := *brokenSeeds
			if b.harmless != "" {
				most /= 10
			}
			for seed := max(b.first, 1); seed <= b.first+most; seed++ {
				if b.tried(t, seed) {
					return
				}
			}
			if b.harmless == "" {
				t.Errorf("not found in %d seeds", most)
			}
		})
	}
}

// tried runs a seed and says whether the rule was missed.
func (b broken) tried(t *testing.T, seed uint64) bool {
	t.Helper()
	if b.with != 0 {
		if r := Run(Options{Seed: seed, Broken: b.with, only: b.only}); r.Violation != "" {
			t.Fatalf("seed %d: with the rule: %s", seed, r.Violation)
		}
	}
	r := Run(Options{Seed: seed, Broken: b.rule | b.with, only: b.only})
	if r.Violation == "" {
		return false
	}
	if b.harmless != "" {
		t.Errorf("seed %d: harmless because %s, but: %s", seed, b.harmless, r.Violation)
	}
	t.Logf("seed %d %v: %s", seed, r.Lives, r.Violation)
	return true
}
