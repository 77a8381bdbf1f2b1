package checkpoint

import (
	"math/rand/v2"
	"testing"
)

// TestBlockSet compares a set with a plain one, around the borders of words and chunks.
func TestBlockSet(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var s blockSet
		const size = 3*chunkBlocks + 100
		plain := map[block]bool{}
		for range 200 {
			b := block(rng.Uint64N(size))
			if rng.IntN(2) == 0 {
				b = block(rng.Uint64N(4)*chunkBlocks) + block(rng.Uint64N(200)) - block(min(rng.Uint64N(200), uint64(b)))
			}
			n := 1 + rng.Uint64N([]uint64{1, 70, 200, 40000}[rng.IntN(4)])
			if b > size {
				continue
			}
			added, before := uint64(0), len(plain)
			out := rng.IntN(2) == 0
			if out {
				s.remove(b, n)
			} else {
				added = s.add(b, n)
			}
			for i := range block(n) {
				if out {
					delete(plain, b+i)
				} else {
					plain[b+i] = true
				}
			}
			if !out && added != uint64(len(plain)-before) || s.n != uint64(len(plain)) {
				t.Fatalf("seed %d: %d blocks added, %d in the set, want %d and %d", seed, added, s.n,
					len(plain)-before, len(plain))
			}
		}
		compareSet(t, &s, plain, size)
	}
}

func compareSet(t *testing.T, s *blockSet, plain map[block]bool, size block) {
	t.Helper()
	seen := uint64(0)
	for b, n := s.next(0, 1000); n > 0; b, n = s.next(b+block(n), 1000) {
		seen += n
		for i := range block(n) {
			if !plain[b+i] || !s.has(b+i) {
				t.Fatalf("block %d is not in the set", b+i)
			}
		}
	}
	if seen != uint64(len(plain)) {
		t.Fatalf("%d blocks in runs, want %d", seen, len(plain))
	}
	left := uint64(0)
	s.outside(5, uint64(size), func(skip, n uint64) {
		left += n
		for i := range n {
			if plain[5+block(skip+i)] {
				t.Fatalf("block %d is in the set", 5+skip+i)
			}
		}
	})
	for i := range size {
		if !plain[5+i] {
			left--
		}
	}
	if left != 0 {
		t.Fatalf("%d blocks too many outside", int64(left))
	}
}
