package aio

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestFifoAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newFifo[int](rapid.IntRange(0, 4).Draw(t, "size"))
		var model []int
		next := 0
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			n := rapid.IntRange(0, 4).Draw(t, "count")
			if rapid.Bool().Draw(t, "push") {
				for range n {
					q.push(next)
					model = append(model, next)
					next++
				}
			} else {
				out := make([]int, n)
				out = out[:q.take(out)]
				k := min(n, len(model))
				if !slices.Equal(out, model[:k]) {
					t.Fatalf("took %v, want %v", out, model[:k])
				}
				model = model[k:]
			}
			if q.len() != len(model) || len(model) > 0 && *q.front() != model[0] {
				t.Fatalf("queue has %d items, model %d", q.len(), len(model))
			}
		}
	})
}

func TestFifoKeepsItsMemory(t *testing.T) {
	q := newFifo[int](8)
	got := testing.AllocsPerRun(1000, func() {
		for i := range 5 {
			q.push(i)
		}
		var out [4]int
		for q.len() > 3 {
			q.take(out[:])
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}
