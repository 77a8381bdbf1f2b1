package checkpoint

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/belay-vm/belay/internal/bio"
)

// TestScaleMemory measures the memory of the block map with everything resident: every block of
// the disk written, in random order block by block, and in ascending order.
func TestScaleMemory(t *testing.T) {
	size := sized[int64](64<<30, 1<<30)
	for _, c := range []struct {
		name  string
		limit float64 // percent of the mapped bytes
		write func(*scaleRig)
	}{
		{"random 4 KiB", 0.25, func(r *scaleRig) { r.shuffled(size) }},
		{"sequential", 0.005, func(r *scaleRig) { r.fill(size) }},
		{"sequential 4 KiB", 0.005, func(r *scaleRig) {
			r.run(bio.Write, int(size/blockSize), blockSize, func(i int) int64 { return int64(i) * blockSize })
		}},
	} {
		r := newScale(t, CreateOptions{Size: size})
		c.write(r)
		st := r.s.Status()
		percent := func(bytes int64) float64 { return float64(bytes) / float64(size) * 100 }
		met := percent(st.MapMemory) <= c.limit
		if !met {
			t.Errorf("%s: %d bytes of map for %d mapped, %.4f %%", c.name, st.MapMemory, size, percent(st.MapMemory))
		}
		name := fmt.Sprintf("memory of the block map, %s over %d GiB", c.name, size>>30)
		figure{Figure: name, Value: percent(st.MapMemory), Unit: "% of mapped bytes",
			Target: fmt.Sprintf("<= %v %%", c.limit), Met: met}.print(t)
		report(t, "the same with reference counts", percent(st.Memory), "% of mapped bytes")
		r.snapshot()
		report(t, "the same after a snapshot", percent(r.s.Status().Memory), "% of mapped bytes")
		most := "taken from the system at most, snapshots under way included"
		report(t, most, percent(r.s.mem.reserved()), "% of mapped bytes")
		r.close()
	}
}

// shuffled writes every block up to so many bytes, a power of two, once, in an order that looks random.
func (r *scaleRig) shuffled(bytes int64) {
	blocks := uint64(bytes / blockSize)
	half := bits.Len64(blocks) / 2
	r.run(bio.Write, int(blocks), blockSize, func(i int) int64 {
		x := uint64(i) * 0x9e3779b97f4a7c15 & (blocks - 1) // each step is one to one
		x ^= x >> half
		x = x * 0xd6e8feb86659fd93 & (blocks - 1)
		return int64(x) * blockSize
	})
}

// reserved returns the bytes that an arena has from the system.
func (a *arena) reserved() int64 { return int64(len(a.pages.taken)+len(a.dirs.taken)) * arenaChunk }
