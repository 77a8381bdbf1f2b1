package checkpoint

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func (w *world) compareMap() error {
	seen := 0
	for b := block(0); b < testBlocks; {
		at, e, n, err := w.blocks.next(b, testBlocks)
		if err != nil {
			return err
		}
		for i := range n {
			want, ok := w.now.entries[at+block(i)]
			if ok {
				seen++
			}
			if want.slot() != e.at(i).slot() || i == 0 && want != e {
				return fmt.Errorf("%w: block %d is %v, want %v", errDiffers, at+block(i), e.at(i), want)
			}
			if got, _ := w.blocks.run(at+block(i), 1); got != want {
				return fmt.Errorf("%w: block %d alone is %v, want %v", errDiffers, at+block(i), got, want)
			}
		}
		if n == 0 {
			break
		}
		b = at + block(n)
	}
	if seen != len(w.now.entries) {
		return fmt.Errorf("%w: %d blocks found, want %d", errDiffers, seen, len(w.now.entries))
	}
	return nil
}

func (w *world) compareCounts() error {
	for at, want := range w.now.counts {
		got, err := w.slots.count(at)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%w: slot %d counts %d, want %d", errDiffers, at, got, want)
		}
	}
	u := w.slots.usage()
	if u.referenced != uint64(len(w.now.counts)) || u.total != u.referenced+u.busy+u.free {
		return fmt.Errorf("%w: usage %+v of %d referenced slots", errDiffers, u, len(w.now.counts))
	}
	return nil
}

func (w *world) compareSums() error {
	for at, want := range w.now.sums {
		if err := w.sums.ensure(at, 1); err != nil {
			return err
		}
		if got := w.sums.get(at); got != want {
			return fmt.Errorf("%w: slot %d has sum %d, want %d", errDiffers, at, got, want)
		}
	}
	return nil
}

// hot draws places that share leaves and directories, and lie around their ends.
func hot(t *rapid.T, unit, size uint64, name string) uint64 {
	leaf := rapid.SampledFrom([]uint64{0, 1, 2, fanout - 1, fanout, fanout + 1}).Draw(t, name+" leaf")
	at := rapid.SampledFrom([]uint64{0, 1, unit / 2, unit - 9, unit - 1}).Draw(t, name+" at")
	return min(leaf*unit+at, size-1)
}

func (w *world) mutate(t *rapid.T) {
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0, 1, 2:
		b := hot(t, leafBlocks, testBlocks, "block")
		n := rapid.SampledFrom([]uint64{1, 1, 2, 9, leafBlocks - 1, leafBlocks, leafBlocks * 2}).Draw(t, "n")
		n = min(n, testBlocks-b)
		first := slot(rapid.Uint64Range(0, testSlots-n).Draw(t, "slot"))
		birth := epoch(rapid.Uint32Range(1, 3).Draw(t, "birth"))
		e := rapid.SampledFrom([]entry{newEntry(first, birth), newEntry(first, birth),
			newEntry(slotZero, birth), newEntry(slotNone, birth), 0}).Draw(t, "entry")
		w.write(t, block(b), n, e)
	case 3, 4:
		at := hot(t, groupSlots, testSlots, "slot")
		n := min(rapid.SampledFrom([]uint64{1, 3, 64, groupSlots}).Draw(t, "n"), testSlots-at)
		w.retain(t, extent{slot(at), n})
	case 5, 6:
		at := hot(t, groupSlots, testSlots, "slot")
		n := min(rapid.SampledFrom([]uint64{1, 3, 64, groupSlots}).Draw(t, "n"), testSlots-at)
		x := extent{slot(at), n}
		for i := range n { // nobody drops what nothing names
			if w.now.counts[x.first+slot(i)] == 0 {
				x.n = i
				break
			}
		}
		if x.n > 0 {
			w.drop(t, x)
		}
	case 7:
		at := hot(t, leafSums, testSlots, "slot")
		n := min(rapid.Uint64Range(1, 5).Draw(t, "n"), testSlots-at)
		v := make([]uint32, n)
		for i := range v {
			v[i] = rapid.Uint32().Draw(t, "sum")
		}
		w.sum(t, slot(at), v)
	}
}

// TestSnapshotModel changes the arrays at random, takes snapshots while they change, lets some
// fail, restarts, and compares both the present and the newest durable snapshot with the model.
func TestSnapshotModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer func() { w.close() }()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1:
				budget := rapid.IntRange(0, 6).Draw(t, "changes during")
				err := w.snapshot(func() error {
					if budget > 0 {
						budget--
						w.mutate(t)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				w.checkDurable(t)
			case 2:
				left := rapid.IntRange(0, 3).Draw(t, "writes until failure")
				err := w.snapshot(func() error {
					w.mutate(t)
					left--
					if left < 0 {
						return errInjected
					}
					return nil
				})
				if err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				w.checkDurable(t)
			case 3:
				old := w
				w = openWorld(t, &ramFile{p: old.file.p}, old.last)
				old.close()
			default:
				w.mutate(t)
			}
		}
		w.check(t)
		w.checkDurable(t)
	})
}

// TestSnapshotMemory makes sure that a snapshot gives back every copy it made.
func TestSnapshotMemory(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for i := range block(8) {
		w.write(t, i*leafBlocks+7, 1, newEntry(slot(i), 1))
	}
	if err := w.snapshot(nil); err != nil {
		t.Fatal(err)
	}
	before := w.mem.used()
	for range 20 {
		again := func() error {
			for i := range block(8) {
				w.write(t, i*leafBlocks+7, 1, newEntry(slot(i), 2))
			}
			return nil
		}
		_ = again()
		if err := w.snapshot(again); err != nil {
			t.Fatal(err)
		}
		_ = w.snapshot(func() error { _ = again(); return errInjected })
	}
	if err := w.snapshot(nil); err != nil {
		t.Fatal(err)
	}
	if after := w.mem.used(); after != before {
		t.Fatalf("%d bytes in use, %d before", after, before)
	}
	if n := w.pages.length(); n > 64 {
		t.Fatalf("a map of 9 pages takes a file of %d", n)
	}
	w.checkDurable(t)
}

// TestSnapshotIncremental makes sure that only what changed is written.
func TestSnapshotIncremental(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for i := range block(fanout + 4) {
		w.write(t, i*leafBlocks+7, 1, newEntry(slot(i), 1))
	}
	if err := w.snapshot(nil); err != nil {
		t.Fatal(err)
	}
	w.write(t, 7, 1, newEntry(3, 2))
	bytes := 0
	before := len(w.file.p)
	if err := w.snapshot(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	bytes = len(w.file.p) - before
	if bytes > 2*pageSize {
		t.Fatalf("one change wrote %d bytes", bytes)
	}
	w.checkDurable(t)
}

// TestSnapshotThreads lets a writer run beside a snapshot for the race detector and for what no
// hook thinks of.
func TestSnapshotThreads(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	var mu sync.Mutex
	for i := range block(fanout) {
		w.write(t, i*leafBlocks+1, 3, newEntry(slot(i), 1))
	}
	for round := range epoch(5) {
		mu.Lock()
		want := w.now.clone()
		w.blocks.freeze()
		w.pages.freeze()
		mu.Unlock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range block(2000) {
				mu.Lock()
				w.write(t, i*37%fanout*leafBlocks+i%leafBlocks, 1, newEntry(slot(i), round+2))
				mu.Unlock()
			}
		}()
		roots, err := w.blocks.write(uint32(round)+1, &mu)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		next := image{pages: w.pages.length(), free: w.pages.freeList(), slots: testSlots}
		w.blocks.commit()
		w.pages.commit()
		next.blocks = catalogArray{w.blocks.pages(), roots}
		next.want = content{entries: want.entries}
		file := &ramFile{p: append([]byte(nil), w.file.p...)}
		mu.Unlock()
		r := openWorld(t, file, next)
		r.check(t)
		r.close()
		<-done
	}
	w.check(t)
}
