package pair

import (
	"strings"
	"testing"

	"github.com/belay-vm/belay/colo/sim"
)

// TestSimAgain lives the same seeds twice: the same must happen, or no failure could be looked into.
func TestSimAgain(t *testing.T) {
	for seed := range uint64(5) {
		var first []string
		for range 2 {
			var deeds []string
			for _, line := range simulate(t, sim.Options{Seed: 1000 + seed, Trace: true}).Trace {
				if !strings.Contains(line, "| ") { // logs have names that are drawn anew each time
					deeds = append(deeds, line)
				}
			}
			if first == nil {
				first = deeds
				continue
			}
			for i := range min(len(first), len(deeds)) {
				if first[i] != deeds[i] {
					t.Fatalf("seed %d, line %d of %d: %q, and then %q", 1000+seed, i, len(first), first[i], deeds[i])
				}
			}
			if len(first) != len(deeds) {
				t.Errorf("seed %d: %d lines, and then %d", 1000+seed, len(first), len(deeds))
			}
		}
	}
}
