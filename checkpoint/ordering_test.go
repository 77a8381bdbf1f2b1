package checkpoint

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
)

var orderingSeeds = flag.Int("ordering.seeds", 300, "within how many seeds a swap must be caught")

// harmlessSeeds is how many seeds a swap survives that nothing can see.
const harmlessSeeds = 12

// swap is a row of docs/ORDERING.md in the wrong place.
type swap struct {
	name     string
	harmless string // why nothing can see it; empty: the crash test must
	orders   func() // changes the product's procedures
	plan     func(*plan)
}

// move takes a row of a procedure to another place.
func move[T any](order []step[T], from, to string) []step[T] {
	at := func(name string) int {
		return slices.IndexFunc(order, func(s step[T]) bool { return s.name == name })
	}
	i, k := at(from), at(to)
	if i < 0 || k < 0 {
		panic("no row " + from + " or " + to)
	}
	row := order[i]
	rest := slices.Delete(slices.Clone(order), i, i+1)
	return slices.Insert(rest, k, row)
}

func flushSwap(from, to string) func() { return func() { flushOrder = move(flushOrder, from, to) } }

// narrow lets a plan run procedures often, and cut between their rows only.
func narrow(p *plan) {
	p.narrow = true
	p.weights[doFlush], p.weights[doSnapshot], p.weights[doTend] = 40, 20, 20
	p.weights[doStage], p.weights[doLoad], p.weights[doTrack] = 0, 0, 0
}

// often makes every plan one in which quick flushes happen, and edits it.
func often(edit func(*plan)) func(*plan) {
	return func(p *plan) {
		for k := uint64(0); !p.often || p.tuning.intentSlots == 0; k++ {
			p.flushOften(rand.New(rand.NewPCG(p.seed, 5+k)))
		}
		if edit != nil {
			edit(p)
		}
	}
}

// loads lets a plan stage and load often, and has it points to load onto.
func loads(p *plan) {
	p.weights[doStart], p.weights[doStage], p.weights[doLoad] = 4, 12, 12
	p.weights[doTrack], p.weights[doRollback], p.weights[doUndo], p.weights[doResize] = 0, 0, 0, 0
}

func snapshotSwap(from, to string) func() {
	return func() { snapshotOrder = move(snapshotOrder, from, to) }
}

var swaps = []swap{
	{name: "write: report before the data is placed", plan: func(p *plan) { p.hasty = hastyWrites }},
	{name: "write: report before the record", plan: func(p *plan) { p.eager = true }},

	{name: "intent: report before it is written", plan: often(func(p *plan) { p.hasty = hastyIntents })},
	{name: "intent: write over it before a proof", plan: often(func(p *plan) { p.wraps = true })},
	{name: "quick flush: answer before data", plan: often(func(p *plan) { p.hasty = hastySyncs })},
	{name: "quick flush: free what was given up", plan: often(func(p *plan) { p.frees = true })},

	{name: "recall: apply before verify", plan: often(nil), orders: func() {
		recallOrder = move(recallOrder, "apply them", "verify their data")
	}},
	{name: "recall: nothing", plan: often(nil), orders: func() { recallOrder = recallOrder[:2] }},
	{name: "recall: what a proof passed", plan: often(nil), orders: func() {
		flushOrder = slices.Clone(flushOrder)
		flushOrder[1].do = func(s *Store, r *flushRound) error {
			r.passed = 0
			return s.prove(r)
		}
	}},

	{name: "flush: proof before data", orders: flushSwap("append the proof", "sync the data")},
	{name: "flush: journal before proof", orders: flushSwap("sync the journal", "append the proof")},
	{name: "flush: free before journal",
		orders: flushSwap("free what was given up", "sync the journal"), plan: narrow},
	{name: "flush: answer before free", orders: flushSwap("answer", "free what was given up"),
		harmless: "both rely on the synced journal and on nothing else; none waits for the other"},
	{name: "flush: answer before journal", orders: flushSwap("answer", "sync the journal"), plan: narrow},

	{name: "snapshot: data before pages", orders: snapshotSwap("sync the data", "write the pages"),
		harmless: "the data that the cut names was written before it; both must precede the superblock only"},
	{name: "snapshot: map before data", orders: snapshotSwap("sync the map", "sync the data"),
		harmless: "two files that do not name each other; both must precede the superblock only"},
	{name: "snapshot: superblock before map", orders: snapshotSwap("write the superblock", "sync the map")},
	{name: "snapshot: superblock before data", orders: snapshotSwap("sync the data", "write the superblock")},
	{name: "snapshot: release before superblock",
		orders: snapshotSwap("release journal and pages", "write the superblock"), plan: narrow},

	{name: "snapshot: release before note",
		orders:   snapshotSwap("release journal and pages", "note the superblock"),
		harmless: "it guards against damage to the newest copy of the superblock, which a crash does not do"},

	{name: "trim: free before punch", orders: func() {
		trimOrder = move(trimOrder, "free the slots", "punch the hole")
	}},

	{name: "load: the load before what is staged", plan: loads, orders: func() {
		loadOrder = move(loadOrder, "enter the load", "enter what is staged")
	}},
	{name: "load: release before the load", plan: loads, orders: func() {
		loadOrder = move(loadOrder, "release what came before", "enter the load")
	}},
	{name: "load: free what is dropped at once", plan: loads, orders: func() {
		loadOrder = slices.Clone(loadOrder)
		loadOrder[1].do = func(s *Store, l *loading) error {
			was := s.freed
			s.freed = nil
			defer func() { s.freed = was }()
			return s.enterLoad(l)
		}
	}},

	{name: "open: journal before data", orders: func() {
		openOrder = move(openOrder, "begin an incarnation of the journal", "sync the data")
	}},
	{name: "open: journal before what was recovered", plan: often(nil), orders: func() {
		openOrder = move(openOrder, "begin an incarnation of the journal", "enter what was recovered")
	}},
	{name: "open: data before what was recovered", orders: func() {
		openOrder = move(openOrder, "sync the data", "write recovered data again")
	}, harmless: "what is read after a power cut is on the disk; for failed syncs there is TestQuickFlushFails"},
	{name: "open: slots before journal", orders: func() {
		openOrder = move(openOrder, "let slots be reused", "begin an incarnation of the journal")
	}, harmless: "it says what becomes of slots given up from now on; nobody gives up any before Open returns"},
}

// TestOrdering puts each row of docs/ORDERING.md in a wrong place, one at a time: the crash test
// must find it, or the row must say why nothing can.
func TestOrdering(t *testing.T) {
	for _, w := range swaps {
		t.Run(w.name, func(t *testing.T) {
			flush, snap, trim, open, recall := flushOrder, snapshotOrder, trimOrder, openOrder, recallOrder
			load := loadOrder
			defer func() {
				flushOrder, snapshotOrder, trimOrder, openOrder, recallOrder = flush, snap, trim, open, recall
				loadOrder = load
			}()
			if w.orders != nil {
				w.orders()
			}
			defer loosened()()
			seeds := *orderingSeeds
			if w.harmless != "" {
				seeds = harmlessSeeds
			}
			ran, cuts, err := crashMany(1, 1<<40, seeds, w.plan)
			switch {
			case w.harmless == "" && err == nil:
				t.Errorf("not caught by %d cuts over %d seeds", cuts, ran)
			case w.harmless != "" && err != nil:
				t.Errorf("thought to be harmless (%s): %v", w.harmless, err)
			case err != nil:
				t.Logf("caught after %d cuts over %d seeds: %.160v", cuts, ran, err)
			}
		})
	}
}
