package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

var (
	faultSeed  = flag.Uint64("fault.seed", 0, "the one seed that TestFault runs")
	faultFirst = flag.Uint64("fault.first", 1, "the seed that TestFault begins with")
	faultSeeds = flag.Uint64("fault.seeds", 12, "how many workloads TestFault runs")
)

// faultOps is how often each workload is run, with another operation that fails.
const faultOps = 60

// foundFaults are what a fault of the store was found by.
var foundFaults = []struct {
	seed uint64
	op   int
}{
	{115, 8},  // a quick flush counted on its sync during that of a round, which failed
	{156, 58}, // a store that had stopped merged what the kernel had dropped, and wrote it with an intent
}

// TestFault makes one operation of the disk fail, each of a workload in turn: what fails says so
// with a type, and nothing that was promised is lost.
func TestFault(t *testing.T) {
	defer loosened()()
	first, n := *faultFirst, *faultSeeds
	if *faultSeed != 0 {
		first, n = *faultSeed, 1
	}
	for _, f := range foundFaults {
		if err := faultRun(f.seed, f.op); err != nil {
			t.Fatalf("seed %d, operation %d fails: %v", f.seed, f.op, err)
		}
	}
	for seed := first; seed < first+n; seed++ {
		for k := 1; k <= faultOps; k++ {
			if err := faultRun(seed, k); err != nil {
				t.Fatalf("seed %d, operation %d fails: %v", seed, k, err)
			}
		}
	}
}

func faultRun(seed uint64, k int) (err error) {
	var kind disktest.Kind
	var why error
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w (end %d, stopped: %v)", err, kind, why)
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			if f, ok := p.(failure); ok {
				err = f.err
			} else {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}
	}()
	p := newPlan(seed)
	for _, no := range []int{doReopen, doKill, doCut, doWatch} {
		p.weights[no] = 0
	}
	r := newRig(p)
	defer r.close()
	for range 150 {
		r.deed()
	}
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	cause := []unix.Errno{unix.EIO, unix.ENOSPC}[rng.IntN(2)]
	r.faulty, r.failing = true, r.disk.Ops()+k
	r.disk.FailAt(r.failing, cause)
	for i := 0; i < 400 && !r.broken && r.s.poisoned() == nil && r.ledger.turn == nil; i++ {
		r.attempt()
	}
	if err := r.s.poisoned(); err != nil {
		if _, err := r.s.Start("", true); !errors.Is(err, ErrPoisoned) {
			return fmt.Errorf("a stopped store takes a point: %v", err)
		}
		r.ledger.cut = true // the kernel may have dropped what it could not write
	}
	kind, why = disktest.Kind(rng.IntN(2)), r.s.poisoned()
	r.die(kind)
	r.faulty = false
	for range 50 {
		r.deed()
	}
	r.settle()
	return audit(r.s)
}
