package checkpoint

import (
	"fmt"
	"testing"
	"time"
)

// TestScaleRollback rolls back changes of the same size on volumes with little and with very much
// mapped: random blocks of all that is mapped, and blocks that lie together.
func TestScaleRollback(t *testing.T) {
	changes := sized(100<<20/blockSize, 2000)
	sizes := sized([]int64{1, 100}, []int64{1, 4})
	for _, c := range []struct {
		name    string
		changed func(size int64) int64 // in how many bytes of the disk
		cold    bool
	}{
		{"in 1 GiB of what is mapped", func(int64) int64 { return 1 << 30 }, false},
		{"all over what is mapped", func(size int64) int64 { return size }, false},
		{"all over what is mapped, just opened, cold caches", func(size int64) int64 { return size }, true},
	} {
		var took [2]time.Duration
		for i, gib := range sizes {
			took[i] = timeRollback(t, gib<<30, c.changed(gib<<30), changes, c.cold)
		}
		f := figure{Figure: fmt.Sprintf("rollback of 100 MiB %s, %d GiB mapped", c.name, sizes[1]),
			Value: ms(took[1]), Unit: "ms", Against: ms(took[0]), Met: true}
		if !c.cold { // then the device reads more for it, and how fast it does is not ours
			f.Target = fmt.Sprintf("within 2 times of %d GiB mapped", sizes[0])
			f.Met = took[1] <= 2*took[0] && took[0] <= 2*took[1]
		}
		f.print(t)
	}
}

// timeRollback is the median of several rollbacks, each of as many random blocks.
func timeRollback(t *testing.T, mapped, within int64, changes int, cold bool) time.Duration {
	r := newScale(t, CreateOptions{Size: mapped, JournalSize: 256 << 20})
	r.fill(mapped)
	r.eachLeaf(mapped)
	r.snapshot()
	var all []time.Duration
	for i := range sized(5, 1) {
		p := r.point(fmt.Sprint("p", i))
		r.scatter(changes, within)
		r.sync()
		if cold {
			r.close()
			dropCaches(t, r.dir)
			r = openScale(t, r.dir, scaleOptions())
		}
		begun := time.Now()
		res, err := r.s.Rollback(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(begun))
		if n := int(res.Blocks); n > changes || n < changes*8/10 {
			t.Fatalf("a rollback of %d changes put %d blocks back", changes, n)
		}
	}
	r.close()
	return median(all)
}
