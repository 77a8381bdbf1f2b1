package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/disktest"
)

var (
	crashCuts  = flag.Int("crash.cuts", 3000, "how many cuts TestCrash makes")
	crashFirst = flag.Uint64("crash.first", 1, "the seed that TestCrash begins with")
	crashSeed  = flag.Uint64("crash.seed", 0, "the one seed that TestCrash runs; 0: as many as it takes")
)

// cutsPerSeed is how many cuts a seed's workload gets, one after every operation from a random
// one on; then it ends.
const cutsPerSeed = 96

// TestCrash runs random workloads and ends the process, and the machine, after every operation of
// the disk: each time a store opened on what is left must hold all that was promised.
func TestCrash(t *testing.T) {
	defer loosened()()
	if *crashSeed != 0 {
		n, err := crashRun(*crashSeed, nil)
		t.Logf("seed %d: %d cuts", *crashSeed, n)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	begun := time.Now()
	seeds, cuts, err := crashMany(*crashFirst, *crashCuts, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts over %d seeds in %v", cuts, seeds, time.Since(begun).Round(time.Second))
	t.Logf("%d quick flushes; %d openings found %d blocks by intents", quickly.flushes.Load(),
		quickly.openings.Load(), quickly.blocks.Load())
	t.Logf("%d loads; of the cuts in the middle of one, %d left it there and %d did not", loadings.made.Load(),
		loadings.there.Load(), loadings.not.Load())
	if loadings.there.Load() == 0 || loadings.not.Load() == 0 {
		t.Error("loads hardly ever happened")
	}
	if quickly.flushes.Load() < int64(seeds) || quickly.openings.Load() < int64(cuts/20) {
		t.Error("quick flushes, or recoveries by intents, hardly ever happened")
	}
}

// quickly counts what intents were good for.
var quickly struct{ flushes, openings, blocks atomic.Int64 }

// loadings counts loads, and what became of those that a cut found in the middle or not yet durable.
var loadings struct{ made, there, not atomic.Int64 }

// countQuick adds what a store that is about to end has done.
func countQuick(s *Store) {
	quickly.flushes.Add(int64(s.stats.quick.Load()))
	if n := s.stats.recalled.Load(); n > 0 {
		quickly.openings.Add(1)
		quickly.blocks.Add(int64(n))
	}
}

// crashMany runs seeds from first on until there were enough cuts or seeds, on all processors. It
// returns the first failure.
func crashMany(first uint64, cuts, seeds int, edit func(*plan)) (ran, made int, err error) {
	var next, total, done atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				k := next.Add(1) - 1
				mu.Lock()
				stop := err != nil
				mu.Unlock()
				if stop || total.Load() >= int64(cuts) || k >= int64(seeds) {
					return
				}
				n, e := crashRun(first+uint64(k), edit)
				total.Add(int64(n))
				done.Add(1)
				if e != nil {
					mu.Lock()
					err = e
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return int(done.Load()), int(total.Load()), err
}

// crasher cuts a rig's disk and judges what is left.
type crasher struct {
	*rig
	rng  *rand.Rand
	cuts int
	op   int
}

// crashRun runs the workload of one seed.
func crashRun(seed uint64, edit func(*plan)) (cuts int, err error) {
	c := &crasher{rng: rand.New(rand.NewPCG(seed, 3))}
	defer func() {
		cuts = c.cuts
		if p := recover(); p != nil {
			if f, ok := p.(failure); ok {
				err = f.err
			} else {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}
		if err != nil {
			err = fmt.Errorf("seed %d, after operation %d (again: -run TestCrash -crash.seed=%d): %w",
				seed, c.op, seed, err)
		}
	}()
	p := newPlan(seed)
	if edit != nil {
		edit(&p)
	}
	c.rig = newRig(p)
	defer c.close()
	for range c.rng.IntN(600) { // so that there is a history to lose
		c.deed()
	}
	c.watch = func(op int) { c.op = op; c.cut() }
	c.peek = func() {
		if c.rng.IntN(4) == 0 {
			c.cut()
		}
	}
	for c.cuts < cutsPerSeed {
		c.deed()
	}
	c.settle()
	return c.cuts, audit(c.s)
}

// cut takes the disk away in both ways. The live store is in the middle of an operation: nothing
// of it may be used but what the disk has.
func (c *crasher) cut() {
	if c.cuts >= cutsPerSeed || c.narrow && !c.between {
		return
	}
	for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
		c.cuts++
		disk := c.disk.Cut(kind)
		if kind == disktest.PowerCut && c.rng.IntN(4) == 0 {
			c.decay(disk.Cut(disktest.Kill))
		}
		if err := c.judge(disk, c.ledger.kept(kind)); err != nil {
			panic(failure{fmt.Errorf("%s: %w", [...]string{"kill", "power cut"}[kind], err)})
		}
		disk.Close()
	}
}

// decay damages an intent: newer writes may be lost by that, but what a block shows was once written to
// it.
func (c *crasher) decay(disk *disktest.Disk) {
	defer disk.Close()
	f, err := fakeFS{disk}.Open(journalName, ReadOnly)
	c.must(err)
	h, err := readJournalHeader(f)
	c.must(err)
	ring := h.ring
	if ring.n == 0 {
		return
	}
	at := int(ring.first+slot(c.rng.Uint64N(ring.n))) * blockSize
	disk.Damage(dataName, func(p []byte) {
		if at < len(p) {
			p[at+c.rng.IntN(100)] ^= 1
		}
	})
	s, err := OpenOn(fakeFS{disk}, Options{ByHand: true, tuning: &c.tuning})
	if err == nil {
		defer abandon(s)
		if _, err = diskTags(s); err == nil {
			err = audit(s)
		}
	}
	if err != nil {
		panic(failure{fmt.Errorf("power cut and a damaged intent: %w", err)})
	}
}

// judge opens what is left.
func (c *crasher) judge(disk *disktest.Disk, upTo int) error {
	o := Options{ByHand: true, tuning: &c.tuning}
	var spare *disktest.Disk
	if c.rng.IntN(3) == 0 {
		spare = disk.Cut(disktest.Kill)
		defer spare.Close()
	}
	s, err := OpenOn(fakeFS{disk}, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer abandon(s)
	if err := c.ledger.judge(s, upTo); err != nil {
		return err
	}
	if err := audit(s); err != nil {
		return err
	}
	if spare != nil {
		if err := c.takeOver(s, spare); err != nil {
			return err
		}
	}
	if c.rng.IntN(4) == 0 {
		return c.useAgain(s)
	}
	return nil
}

// takeOver opens the disk as a second machine would.
func (c *crasher) takeOver(found *Store, disk *disktest.Disk) error {
	to := c.ledger.successor(found)
	s, err := OpenOn(fakeFS{disk}, Options{ByHand: true, tuning: &c.tuning, Takeover: true})
	if to == nil {
		if !errors.Is(err, ErrNoPoint) {
			return fmt.Errorf("takeover without a retired point: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	defer abandon(s)
	if err := judgeTakeover(s, to); err != nil {
		return err
	}
	return audit(s)
}

// useAgain writes to a recovered store until it has used its free slots again: what its points
// show must not change by that.
func (c *crasher) useAgain(s *Store) error {
	shows := map[uint32][]tag{}
	for _, p := range s.Points() {
		seen, err := viewTags(s, p.ID)
		if err != nil {
			return err
		}
		shows[p.ID] = seen
	}
	p := make([]byte, s.Size())
	for i := range len(p) / sectorSize {
		tag(1<<39+1).fill(p[i*sectorSize:(i+1)*sectorSize], i)
	}
	for range 3 {
		if _, err := s.WriteAt(p, 0); err != nil {
			return fmt.Errorf("writing to what was recovered: %w", err)
		}
		if err := s.Sync(); err != nil {
			return err
		}
	}
	for s.tendOnce() {
	}
	for id, want := range shows {
		seen, err := viewTags(s, id)
		if err == nil {
			err = sameTags(seen, want, fmt.Sprintf("point %d after the disk was used again", id))
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(check(s), audit(s))
}
