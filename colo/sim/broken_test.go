package sim

import (
	"flag"
	"testing"

	"github.com/belay-vm/belay/colo"
)

var brokenSeeds = flag.Uint64("sim.broken", 3000, "within how many seeds a broken rule must be caught")

// broken is a rule left out, and why nothing sees it, if that is so.
type broken struct {
	name     string
	rule     colo.Rule
	harmless string
}

var brokens = []broken{
	{name: "AnswerAfterDrain", rule: colo.AnswerAfterDrain},
	{name: "AnswerAfterAck", rule: colo.AnswerAfterAck},
	{name: "AnnounceStarts", rule: colo.AnnounceStarts},
	{name: "StartAfterAck", rule: colo.StartAfterAck},
	{name: "AloneByWitness", rule: colo.AloneByWitness},
	{name: "YankFirst", rule: colo.YankFirst},
	{name: "HoldUnreachable", rule: colo.HoldUnreachable},
	{name: "FenceLoser", rule: colo.FenceLoser},
	{name: "PublishByPromise", rule: colo.PublishByPromise},
	{name: "StopBeforeHandOver", rule: colo.StopBeforeHandOver},
	{name: "TellShutdown", rule: colo.TellShutdown},
	{name: "NoSealNoLoad", rule: colo.NoSealNoLoad},
	{name: "LoadComplete", rule: colo.LoadComplete},
	{name: "LoadAgain", rule: colo.LoadAgain},
	{name: "ExitKeeps", rule: colo.ExitKeeps},
	{name: "CheckDigest", rule: colo.CheckDigest},
	{name: "BarrierAtStart", rule: colo.BarrierAtStart},
	{name: "BarrierAtAnnounce", rule: colo.BarrierAtAnnounce},
	{name: "KeepPromise", rule: colo.KeepPromise},
	{name: "TakeOverByWitness", rule: colo.TakeOverByWitness},
	{name: "YankOrphan", rule: colo.YankOrphan},
	{name: "ExitFirst", rule: colo.ExitFirst},
	{name: "HeedShutdown", rule: colo.HeedShutdown},
	{name: "GapPoisons", rule: colo.GapPoisons},
	{name: "SyncedOnly", rule: colo.SyncedOnly},
}

// TestBroken leaves out rule by rule; the simulation must find it.
func TestBroken(t *testing.T) {
	for _, b := range brokens {
		t.Run(b.name, func(t *testing.T) {
			for seed := uint64(1); seed <= *brokenSeeds; seed++ {
				if r := Run(Options{Seed: seed, Broken: b.rule}); r.Violation != "" {
					if b.harmless != "" {
						t.Errorf("seed %d: harmless because %s, but: %s", seed, b.harmless, r.Violation)
					}
					t.Logf("seed %d (%s): %s", seed, r.Fault, r.Violation)
					return
				}
			}
			if b.harmless == "" {
				t.Errorf("not found in %d seeds", *brokenSeeds)
			}
		})
	}
}
