package checkpoint

import (
	"flag"
	"fmt"
	"runtime/debug"
	"testing"
)

var (
	modelFirst = flag.Uint64("model.first", 1, "the seed that TestModel begins with")
	modelSeed  = flag.Uint64("model.seed", 0, "the one seed that TestModel runs; 0: model.seeds of them")
	modelSeeds = flag.Int("model.seeds", 60, "how many seeds TestModel runs")
)

// modelDeeds is how long the workload of a seed is.
const modelDeeds = 1500

// TestModel runs everything that a store can do, at random, and compares all that it shows with
// the ledger: what is read, every point, the counts of every slot.
func TestModel(t *testing.T) {
	defer loosened()()
	first, n := *modelFirst, *modelSeeds
	if *modelSeed != 0 {
		first, n = *modelSeed, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		if err := modelRun(seed, nil); err != nil {
			t.Fatalf("again: -run TestModel -model.seed=%d: %v", seed, err)
		}
	}
}

// modelRun runs the workload of one seed.
func modelRun(seed uint64, edit func(*plan)) (err error) {
	done := 0
	defer func() {
		if p := recover(); p != nil {
			if f, ok := p.(failure); ok {
				err = fmt.Errorf("deed %d: %w", done, f.err)
			} else {
				err = fmt.Errorf("deed %d: panic: %v\n%s", done, p, debug.Stack())
			}
		}
	}()
	p := newPlan(seed)
	if edit != nil {
		edit(&p)
	}
	r := newRig(p)
	defer r.close()
	for ; done < modelDeeds; done++ {
		r.deed()
	}
	r.closeViews()
	r.reopen()
	return check(r.s)
}
