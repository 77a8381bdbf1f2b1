package checkpoint

import (
	"context"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// TestCatalogCountsItsOwnPages: a catalog named the pages of the snapshot before it. When arrays
// shrank after a reopening the count went below zero, and the volume could not be opened again.
func TestCatalogCountsItsOwnPages(t *testing.T) {
	disk := disktest.New(1)
	defer disk.Close()
	o := CreateOptions{Size: 1 << 20, JournalSize: journalArea + minJournalArea}
	if err := CreateOn(fakeFS{disk}, o); err != nil {
		t.Fatal(err)
	}
	open := func() *Store {
		s, err := OpenOn(fakeFS{disk}, Options{ByHand: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, at := range []int64{3, 1, 7} { // in no order, so that the map needs a page
		mustWrite(t, s, pattern(make([]byte, blockSize), 1), at*blockSize)
	}
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
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
