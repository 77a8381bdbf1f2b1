package checkpoint

import (
	"runtime"
	"testing"
	"time"
)

// TestScaleCut starts checkpoints on a large volume with very many blocks written since the last
// snapshot of the map, and on an empty one. A cut is a record in the journal: it takes the same
// on both, and looks at no page of the map.
func TestScaleCut(t *testing.T) {
	const journal = 1 << 30 // no snapshot while it is measured
	dirty := sized(1_000_000, 20_000)
	empty := newScale(t, CreateOptions{Size: 1 << 40, JournalSize: sized[int64](journal, 16<<20)})
	full := newScale(t, CreateOptions{Size: 1 << 40, JournalSize: sized[int64](journal, 16<<20)})
	full.scatter(dirty, 1<<40)
	rounds := sized(31, 3)
	var none, many, retire []time.Duration
	for range rounds {
		none = append(none, empty.timeCut())
		many = append(many, full.timeCut())
		full.scatter(1000, 1<<40)
		begun := time.Now()
		if _, err := full.s.Retire(t.Context()); err != nil {
			t.Fatal(err)
		}
		retire = append(retire, time.Since(begun))
		if _, err := empty.s.Retire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := full.s.stats.snapshots.Load(); n > 0 {
		t.Fatalf("%d snapshots made blocks clean that were to be dirty", n)
	}
	a, b := median(many), median(none)
	figure{Figure: "checkpoint start, 1 TiB volume, 1,000,000 dirty blocks", Value: ms(a), Unit: "ms",
		Target: "< 1 ms and at most 2 times that of an empty volume", Against: ms(b),
		Met: a < time.Millisecond && a <= 2*b}.print(t)
	report(t, "the longest of them", ms(maxOf(many)), "ms")
	report(t, "its retire, the first: durable with all that is dirty", ms(retire[0]), "ms")
	report(t, "its retire, 1,000 blocks after the one before", ms(median(retire)), "ms")
	full.close()
	empty.close()
}

// timeCut starts a checkpoint.
func (r *scaleRig) timeCut() time.Duration {
	r.t.Helper()
	pages, dirs := r.s.mem.pages.out, r.s.mem.dirs.out
	runtime.GC() // not in the middle
	begun := time.Now()
	if _, err := r.s.Start("", false); err != nil {
		r.t.Fatal(err)
	}
	took := time.Since(begun)
	if r.s.mem.pages.out != pages || r.s.mem.dirs.out != dirs {
		r.t.Fatal("a cut loaded or copied pages of the map")
	}
	return took
}

func maxOf(v []time.Duration) time.Duration {
	var most time.Duration
	for _, d := range v {
		most = max(most, d)
	}
	return most
}
