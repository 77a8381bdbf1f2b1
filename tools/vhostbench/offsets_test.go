package main

import "testing"

// TestRandomOffsetsCover : every place comes up, about as often as any other, and none beyond.
func TestRandomOffsetsCover(t *testing.T) {
	const blocks, each = 1000, 1000
	o := defaults()
	for queue := range 2 {
		at, hits := newOffsets(&o, blocks, queue), [blocks]int{}
		for range blocks * each {
			hits[at.take()]++
		}
		for i, n := range hits {
			if n < each*4/5 || n > each*6/5 {
				t.Errorf("queue %d: place %d came up %d times, want about %d", queue, i, n, each)
			}
		}
	}
}

// TestOrderedOffsetsCover : the queues together go through the range once, each in order.
func TestOrderedOffsetsCover(t *testing.T) {
	const blocks = 1001
	o := defaults()
	o.seq, o.queues = true, 3
	var hits [blocks]int
	for queue := range o.queues {
		at := newOffsets(&o, blocks, queue)
		last := uint64(0)
		for i := range at.blocks {
			b := at.take()
			if i > 0 && b != last+1 {
				t.Fatalf("queue %d: %d follows %d", queue, b, last)
			}
			hits[b]++
			last = b
		}
		if again := at.take(); again != at.first {
			t.Errorf("queue %d: begins again at %d, not at %d", queue, again, at.first)
		}
	}
	for i, n := range hits {
		if n != 1 {
			t.Errorf("place %d came up %d times", i, n)
		}
	}
}

// TestSeeds : the same seed gives the same load, another seed and another queue another one.
func TestSeeds(t *testing.T) {
	first := func(seed uint64, queue int) uint64 {
		o := defaults()
		o.seed = seed
		at := newOffsets(&o, 1<<40, queue)
		return at.take()
	}
	if a, b := first(1, 0), first(1, 0); a != b {
		t.Error("the same seed gives another load")
	}
	if first(1, 0) == first(2, 0) || first(1, 0) == first(1, 1) {
		t.Error("another seed or queue gives the same load")
	}
}
