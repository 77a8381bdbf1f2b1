package checkpoint

import (
	"math/rand/v2"
	"testing"
)

// hotWorld is a dense random map of 256 MiB with all its counts loaded.
func hotWorld(t testing.TB) (*world, []block) {
	w := &world{mem: newArena()}
	w.pages, _ = openPageFile(&ramFile{}, 1, nil)
	const n = 1 << 16
	w.blocks, _ = newBlockMap(w.pages, w.mem, catalogArray{}, n, 2*n)
	w.slots, _ = newSlots(w.pages, w.mem, catalogArray{}, 2*n)
	w.sums, _ = newSums(w.pages, w.mem, catalogArray{}, 2*n)
	if err := w.slots.ensure(0, 2*n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	order := make([]block, n)
	for i, k := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		order[i] = block(k)
		w.blocks.replace(order[i], 1, newEntry(slot(i), 1), func(block, uint64, entry) {})
	}
	w.slots.retain(extent{0, n})
	return w, order
}

// writer overwrites as a store does: it keeps one method value for each callback.
type writer struct {
	w       *world
	died    func(block, uint64, entry)
	dead    func(extent)
	out     []extent
	dropped uint64
}

func newWriter(w *world) *writer {
	x := &writer{w: w}
	x.died, x.dead = x.onDied, x.onDead
	return x
}

func (x *writer) onDied(_ block, n uint64, old entry) { x.w.slots.drop(extent{old.slot(), n}, x.dead) }
func (x *writer) onDead(d extent) {
	x.w.slots.hold(d)
	x.w.slots.release(d)
	x.dropped += d.n
}

// overwrite puts blocks into fresh slots.
func (x *writer) overwrite(order []block) error {
	var err error
	if x.out, err = x.w.slots.reserve(uint64(len(order)), x.out[:0]); err != nil {
		return err
	}
	for _, e := range x.out {
		x.w.slots.retain(e)
		x.w.slots.release(e)
		for i := range e.n {
			if err := x.w.blocks.ensure(order[0], 1); err != nil {
				return err
			}
			x.w.blocks.run(order[0], 1)
			x.w.blocks.replace(order[0], 1, newEntry(e.first+slot(i), 2), x.died)
			order = order[1:]
		}
	}
	return nil
}

// TestNothingAllocated holds the write path of the metadata at no allocation.
func TestNothingAllocated(t *testing.T) {
	w, order := hotWorld(t)
	x := newWriter(w)
	sum := []uint32{1, 2, 3, 4}
	at := 0
	round := func() {
		if err := x.overwrite(order[at : at+64]); err != nil {
			t.Fatal(err)
		}
		w.sums.set(slot(at), sum)
		w.sums.get(slot(at))
		at = (at + 64) % len(order)
	}
	for range 1100 {
		round()
	}
	if n := testing.AllocsPerRun(500, round); n != 0 {
		t.Fatalf("%v allocations for 64 overwrites", n)
	}
	if x.dropped == 0 {
		t.Fatal("nothing was dropped")
	}
}

func BenchmarkRun(b *testing.B) {
	w, order := hotWorld(b)
	for i := 0; b.Loop(); i++ {
		w.blocks.run(order[i&(len(order)-1)], 1)
	}
}

func BenchmarkReplace(b *testing.B) {
	w, order := hotWorld(b)
	died := func(block, uint64, entry) {}
	for i := 0; b.Loop(); i++ {
		w.blocks.replace(order[i&(len(order)-1)], 1, newEntry(slot(i&0xffff), 2), died)
	}
}

func BenchmarkRetainDrop(b *testing.B) {
	w, order := hotWorld(b)
	dead := func(extent) {}
	for i := 0; b.Loop(); i++ {
		x := extent{slot(order[i&(len(order)-1)]), 1}
		w.slots.retain(x)
		w.slots.drop(x, dead)
	}
}

// BenchmarkReserve takes and gives back 16 slots while half of the data area is holes.
func BenchmarkReserve(b *testing.B) {
	w, order := hotWorld(b)
	for _, at := range order[:len(order)/2] {
		w.slots.drop(extent{slot(at), 1}, func(extent) {})
	}
	var out []extent
	for b.Loop() {
		out, _ = w.slots.reserve(16, out[:0])
		for _, x := range out {
			w.slots.release(x)
		}
	}
}

// BenchmarkOverwrite is all that the metadata of a random 4 KiB overwrite costs.
func BenchmarkOverwrite(b *testing.B) {
	w, order := hotWorld(b)
	x := newWriter(w)
	at := 0
	for i := 0; b.Loop(); i++ {
		if i%64 != 0 {
			continue // 64 at a time
		}
		if err := x.overwrite(order[at : at+64]); err != nil {
			b.Fatal(err)
		}
		at = (at + 64) % len(order)
	}
}
