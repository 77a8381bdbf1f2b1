package checkpoint

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// damagedWorld returns a snapshot with a page of every kind and a free page.
func damagedWorld(t *testing.T) (*ramFile, image) {
	w := newWorld(t)
	defer w.close()
	for range 2 {
		w.write(t, 5, 3, newEntry(100, 1))
		w.write(t, leafBlocks, leafBlocks, newEntry(1000, 2))
		w.retain(t, extent{50, 3})
		w.sum(t, 9, []uint32{1, 2, 3})
		if err := w.snapshot(nil); err != nil {
			t.Fatal(err)
		}
	}
	return w.file, w.last
}

// TestEveryDamagedByte flips each byte of a map file: whoever reads the page reports where, or the
// page is free.
func TestEveryDamagedByte(t *testing.T) {
	f, last := damagedWorld(t)
	w := openWorld(t, f, last)
	defer w.close()
	used := map[uint64]bool{}
	content := make([]byte, pageSize)
	for _, a := range w.arrays() {
		err := a.eachPage(func(k pageKind, at ref) error {
			used[at.page] = true
			for i := at.page * pageSize; i < (at.page+1)*pageSize; i++ {
				f.p[i] ^= 0x40
				err := w.pages.read(at, k, content)
				f.p[i] ^= 0x40
				var c *CorruptError
				if !errors.As(err, &c) || c.File != mapName || c.Offset != int64(at.page)*pageSize {
					t.Fatalf("byte %d flipped: %v", i, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(used) != 6 {
		t.Fatalf("%d pages in use, want 6", len(used))
	}
	w.checkPages(t) // and every other page is free
}

// TestDamagedOpen does the same through the arrays: damage is reported, never taken for content.
func TestDamagedOpen(t *testing.T) {
	f, last := damagedWorld(t)
	for i := 0; i < len(f.p); i += 61 {
		f.p[i] ^= 0x40
		w, err := tryOpen(f, last)
		if err == nil {
			err = w.compare()
			w.close()
		}
		f.p[i] ^= 0x40
		if errors.Is(err, ErrCorrupt) {
			continue
		}
		free := i < pageSize || slices.ContainsFunc(last.free, func(x pageExtent) bool {
			return uint64(i/pageSize)-x.page < x.n
		})
		if err != nil || !free {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
}

// TestTruncatedMap cuts the file at every page.
func TestTruncatedMap(t *testing.T) {
	f, last := damagedWorld(t)
	for n := range int(last.pages) {
		if _, err := tryOpen(&ramFile{p: f.p[:n*pageSize]}, last); !errors.Is(err, ErrCorrupt) {
			t.Errorf("file of %d pages: %v", n, err)
		}
	}
}

// TestPageElsewhere makes sure that a page is accepted only as what it is, where it is.
func TestPageElsewhere(t *testing.T) {
	f := &ramFile{}
	w, _ := openPageFile(f, 1, nil)
	content := make([]byte, pageSize)
	at, err := w.write(kindDead, 7, content)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := w.write(kindDead, 7, content)
	free := w.take(1)
	w.unused(free)
	for what, r := range map[string]ref{
		"other generation": {at.page, 8, at.crc},
		"other place":      {other.page, 7, at.crc},
		"other checksum":   {at.page, 7, at.crc ^ 1},
		"page 0":           {0, 7, at.crc},
		"behind the end":   {free.page, 7, at.crc},
		"far away":         {1 << 60, 7, at.crc},
	} {
		if err := w.read(r, kindDead, content); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := w.read(at, kindMapLeaf, content); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other kind: %v", err)
	}
	if err := w.read(at, kindDead, content); err != nil {
		t.Error(err)
	}
}

// TestPageFileModel allocates and frees at random: a page that the durable snapshot or the one
// under way needs is never handed out.
func TestPageFileModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := openPageFile(&ramFile{}, 1, nil)
		durable, frozen, now := map[uint64]bool{}, map[uint64]bool(nil), map[uint64]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if frozen == nil {
				if rapid.Bool().Draw(t, "freeze") {
					w.freeze()
					frozen = map[uint64]bool{}
					for p := range now {
						frozen[p] = true
					}
					continue
				}
				for p := range now {
					if rapid.Bool().Draw(t, "free") {
						w.free(ref{page: p})
						delete(now, p)
					}
				}
				continue
			}
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1, 2:
				x := w.take(rapid.Uint64Range(1, 20).Draw(t, "n"))
				for p := x.page; p < x.page+x.n; p++ {
					if durable[p] || frozen[p] || p == 0 {
						t.Fatalf("page %d handed out, which a snapshot needs", p)
					}
					frozen[p], now[p] = true, true
				}
			case 3:
				free := w.freeList()
				length := w.length()
				w.commit()
				durable, frozen = frozen, nil
				checkFree(t, free, length, durable)
			case 4:
				w.abort()
				for p := range frozen {
					if !durable[p] {
						delete(now, p)
					}
				}
				frozen = nil
			}
		}
	})
}

// checkFree makes sure that the catalog's list says of every page of the file what is right.
func checkFree(t *rapid.T, free []pageExtent, length uint64, used map[uint64]bool) {
	n := uint64(1)
	for _, x := range free {
		for p := x.page; p < x.page+x.n; p++ {
			if used[p] {
				t.Fatalf("page %d is in the list of free pages", p)
			}
		}
		n += x.n
	}
	if n+uint64(len(used)) != length {
		t.Fatalf("%d pages free and %d used, of %d", n-1, len(used), length)
	}
}

// TestPageWritesAreLarge makes sure that a snapshot of a fresh file is a few ascending writes.
func TestPageWritesAreLarge(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for i := range block(fanout) {
		w.write(t, i*leafBlocks, 1, newEntry(slot(i), 1))
	}
	writes := 0
	if err := w.snapshot(func() error { writes++; return nil }); err != nil {
		t.Fatal(err)
	}
	if n := len(w.file.p) / pageSize; n < fanout {
		t.Fatalf("%d pages written", n)
	}
	if writes > 10 { // calls of the file and of the lock
		t.Fatalf("%d writes for 258 pages", writes)
	}
}
