package sim

import (
	"fmt"
	"maps"
	"slices"
)

// Tally sums up what became of many worlds.
type Tally struct {
	Worlds, Checkpoints, Pairs int
	ends                       map[string]map[string]int
	counts                     map[string]int
}

// Add takes one in.
func (t *Tally) Add(r Result) {
	if t.ends == nil {
		t.ends, t.counts = map[string]map[string]int{}, map[string]int{}
	}
	for what, n := range r.Counts {
		t.counts[what] += n
	}
	t.Worlds++
	t.Checkpoints += r.Checkpoints
	t.Pairs += len(r.Lives)
	for _, l := range r.Lives {
		if t.ends[l.Fault] == nil {
			t.ends[l.Fault] = map[string]int{}
		}
		t.ends[l.Fault][l.End]++
	}
}

// Lines is what there is to tell: after which fault who served how often.
func (t *Tally) Lines() []string {
	lines := []string{fmt.Sprintf("%d checkpoints of %d pairs in %d worlds", t.Checkpoints, t.Pairs, t.Worlds)}
	for _, name := range faultNames {
		if t.ends[name] != nil {
			lines = append(lines, fmt.Sprintf("%-24s %v", name, t.ends[name]))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(t.counts)) {
		lines = append(lines, fmt.Sprintf("%s: %d", what, t.counts[what]))
	}
	return lines
}
