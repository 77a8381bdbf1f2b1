package checkpoint

import (
	"bytes"
	"os"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// TestCloseGivesMemoryBack: the tables of map, counts and checksums lie outside the Go heap and
// outside the arena, and stayed mapped for ever after a volume was closed.
func TestCloseGivesMemoryBack(t *testing.T) {
	disk := disktest.New(1)
	defer disk.Close()
	o := CreateOptions{Size: 1 << 20, JournalSize: journalArea + minJournalArea, Checksums: true}
	if err := CreateOn(fakeFS{disk}, o); err != nil {
		t.Fatal(err)
	}
	before := 0
	for i := range 40 {
		s, err := OpenOn(fakeFS{disk}, Options{ByHand: true})
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, s, make([]byte, 1<<20), 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			before = mappings(t)
		}
	}
	if after := mappings(t); after > before+20 {
		t.Fatalf("%d mappings after 40 openings, %d after 10", after, before)
	}
}

func mappings(t *testing.T) int {
	t.Helper()
	p, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(p, []byte{'\n'})
}
