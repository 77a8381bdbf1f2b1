package checkpoint

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// TestCatalogCountsItsOwnPages: a catalog named the pages of the snapshot before it. When arrays
// shrank after a reopening the count went below zero, and the volume could not be opened again.
func TestCatalogCountsItsOwnPages(t *testing.T) {
	disk, s := fresh(t, Options{})
	for _, at := range []int64{3, 1, 7} { // in no order, so that the map needs a page
		mustWrite(t, s, pattern(make([]byte, blockSize), 1), at*blockSize)
	}
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if s, err = OpenOn(fakeFS{disk}, Options{ByHand: true}); err != nil {
			t.Fatal(err)
		}
		c, err := readCatalog(s.files.pages, s.super.catalog)
		if err != nil {
			t.Fatal(err)
		}
		st, err := loadState(s.files.pages, c, false, false)
		if err != nil {
			t.Fatal(err)
		}
		pages := 0
		if err := st.blocks.eachPage(func(k pageKind, _ ref) error {
			if k == kindMapLeaf {
				pages++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		st.close()
		if uint64(pages) != c.blocks.pages {
			t.Fatalf("the catalog counts %d pages of the map, there are %d", c.blocks.pages, pages)
		}
		if err := s.Zero(0, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Checkpoint(context.Background(), "end"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCatalogAtPageEnd: a catalog that was just shorter than its pages had taken one page more than it
// wrote. At the end of the map file that page was not there, and the volume could not be opened again;
// elsewhere it was lost.
func TestCatalogAtPageEnd(t *testing.T) {
	disk, s := fresh(t, Options{})
	name, near := strings.Repeat("x", 200), map[int]int{} // catalogs, by what they are longer than whole pages
	for i := 0; near[-16]*near[-8]*near[0]*near[8] < 3; i++ {
		if i == 3000 {
			t.Fatalf("only these lengths: %v", near)
		}
		if _, err := s.Checkpoint(context.Background(), fmt.Sprintf("%04d%s", i, name)); err != nil {
			t.Fatal(err)
		}
		size := snapshotted(t, s)
		reopened(t, disk, fmt.Sprintf("with a catalog of %d bytes", size))
		if over := (size+16)%blockSize - 16; over <= 8 {
			near[over]++
		}
		name = strings.Repeat("x", 100)
		if left := blockSize - size%blockSize; left > 120 && left < 240 {
			name = strings.Repeat("x", left-catalogPointHead-4+8*rand.IntN(4)-16)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// snapshotted takes a snapshot of a volume without blocks and returns its catalog's length, in bytes.
func snapshotted(t *testing.T, s *Store) int {
	t.Helper()
	s.admin.Lock()
	defer s.admin.Unlock()
	if err := s.snapshot(); err != nil {
		t.Fatal(err)
	}
	c, err := readCatalog(s.files.pages, s.super.catalog)
	if err != nil {
		t.Fatal(err)
	}
	lost := c.mapPages - 1 - pagesOf(uint64(c.encodedLen()))
	for _, x := range c.free {
		lost -= x.n
	}
	if lost != 0 {
		t.Errorf("%d pages are in use for nothing, with a catalog of %d bytes", lost, c.encodedLen())
	}
	return c.encodedLen()
}

// reopened opens what a kill leaves.
func reopened(t *testing.T, disk *disktest.Disk, what string) {
	t.Helper()
	left := disk.Cut(disktest.Kill)
	defer left.Close()
	s, err := OpenOn(fakeFS{left}, Options{ByHand: true})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
