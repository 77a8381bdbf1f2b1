package pair

import (
	"slices"
	"strings"
	"testing"

	"github.com/belay-vm/belay/colo/sim"
)

// TestSimAgain lives the same seeds again: the same must happen, or no failure could be looked into. Where
// the system takes the processor away in the middle of something, goroutines change places, and another
// life is tried.
func TestSimAgain(t *testing.T) {
	const tries = 8
	for seed := range uint64(5) {
		var lives [][]string
		for len(lives) < tries && !again(lives) {
			lives = append(lives, simDeeds(t, 1000+seed))
		}
		if !again(lives) {
			t.Errorf("seed %d went another way each of %d times", 1000+seed, tries)
		}
	}
}

// again says whether the last life was lived before.
func again(lives [][]string) bool {
	last := len(lives) - 1
	return last > 0 && slices.ContainsFunc(lives[:last], func(l []string) bool {
		return slices.Equal(l, lives[last])
	})
}

// simDeeds is all that happens in a seed's life but for logs, whose names are drawn anew each time.
func simDeeds(t *testing.T, seed uint64) (deeds []string) {
	for _, line := range simulate(t, sim.Options{Seed: seed, Trace: true}).Trace {
		if !strings.Contains(line, "| ") {
			deeds = append(deeds, line)
		}
	}
	return deeds
}
