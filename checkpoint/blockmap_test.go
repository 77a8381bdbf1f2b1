package checkpoint

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRunModel compares runs over random maps with a walk block by block.
func TestRunModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.close()
		for range rapid.IntRange(0, 12).Draw(t, "writes") {
			b := hot(t, leafBlocks, testBlocks, "block")
			n := min(rapid.SampledFrom([]uint64{1, 5, leafBlocks, 3 * leafBlocks}).Draw(t, "n"), testBlocks-b)
			e := rapid.SampledFrom([]entry{newEntry(slot(b), 1), newEntry(slot(b), 2), newEntry(slotZero, 1),
				newEntry(slotZero, 2), newEntry(slotNone, 1), 0}).Draw(t, "entry")
			w.write(t, block(b), n, e)
		}
		b := hot(t, leafBlocks, testBlocks, "from")
		most := min(rapid.SampledFrom([]uint64{1, 10, 3000, testBlocks}).Draw(t, "max"), testBlocks-b)
		e, n := w.blocks.run(block(b), most)
		first := w.now.entries[block(b)]
		want := uint64(1)
		for want < most && w.now.entries[block(b+want)].slot() == first.at(want).slot() {
			want++
		}
		if e != first || n != want {
			t.Fatalf("run of %v for %d blocks, want %v for %d", e, n, first, want)
		}
	})
}

// TestSequentialInline makes sure that what is written in ascending order needs no leaves, at
// once, and that a rewritten leaf becomes an extent again with the next snapshot.
func TestSequentialInline(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	before := w.blocks.memory()
	for b := block(0); b < 64*leafBlocks; b += 16 {
		w.write(t, b, 16, newEntry(slot(b)+100, 1))
	}
	if n := w.blocks.memory() - before - int64(w.mem.dirs.size); n != 0 {
		t.Fatalf("64 leaves in sequence take %d bytes", n)
	}
	for b := block(leafBlocks); b > 0; b -= 16 {
		w.write(t, 70*leafBlocks+b-16, 16, newEntry(slot(b)-16, 1))
	}
	if n := w.blocks.memory() - int64(w.mem.dirs.size); n != pageSize {
		t.Fatalf("a leaf written backwards takes %d bytes", n)
	}
	if err := w.snapshot(nil); err != nil {
		t.Fatal(err)
	}
	if n := w.blocks.memory() - int64(w.mem.dirs.size); n != 0 || w.blocks.pages() != 0 {
		t.Fatalf("%d bytes and %d pages are left after a snapshot", n, w.blocks.pages())
	}
	w.check(t)
	w.checkDurable(t)
}

// TestDiscardedLeafIsInline makes sure that zeroes and unmapped stretches take no leaf.
func TestDiscardedLeafIsInline(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for i := range block(3 * leafBlocks) {
		w.write(t, i, 1, newEntry(slot(i*7%1000), 1))
	}
	w.write(t, 0, leafBlocks, newEntry(slotZero, 2))
	w.write(t, leafBlocks, leafBlocks, 0)
	if n := w.blocks.memory() - int64(w.mem.dirs.size); n != pageSize {
		t.Fatalf("%d bytes for one leaf", n)
	}
	w.check(t)
}

// TestDenseMemory holds the promise of docs/DESIGN.md: 8 bytes a block and little more.
func TestDenseMemory(t *testing.T) {
	mem := newArena()
	defer mem.close()
	pages, _ := openPageFile(&ramFile{}, 1, nil)
	const blocks = fanout * leafBlocks * 4
	m, err := newBlockMap(pages, mem, catalogArray{}, blocks, maxSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for b := range block(blocks) {
		m.replace(b, 1, newEntry(slot(b*2), 1), func(block, uint64, entry) {})
	}
	if limit := int64(blocks*8 + blocks*8/100); m.memory() > limit {
		t.Fatalf("%d bytes for %d blocks, at most %d", m.memory(), blocks, limit)
	}
}

// TestHugeEmptyDisk opens the largest disk: nothing of it is touched before it is used.
func TestHugeEmptyDisk(t *testing.T) {
	const blocks = maxDisk / blockSize
	mem := newArena()
	defer mem.close()
	pages, _ := openPageFile(&ramFile{}, 1, nil)
	begin := time.Now()
	m, err := newBlockMap(pages, mem, catalogArray{}, blocks, blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	s, err := newSlots(pages, mem, catalogArray{}, blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	t.Logf("opened in %v", time.Since(begin))
	m.replace(blocks-1, 1, newEntry(5, 1), func(block, uint64, entry) {})
	if e, n := m.run(0, blocks); e != 0 || n != blocks-1 {
		t.Fatalf("run of %v for %d blocks", e, n)
	}
	if b, _, n, err := m.next(0, blocks); b != blocks-1 || n != 1 || err != nil {
		t.Fatalf("next is block %d, %d of them, %v", b, n, err)
	}
	if got, err := s.reserve(1000, nil); err != nil || len(got) != 1 {
		t.Fatalf("reserved %v, %v", got, err)
	}
	if used := mem.used(); used > 64<<10 {
		t.Fatalf("%d bytes for one block", used)
	}
}
