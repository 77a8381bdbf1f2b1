package checkpoint

import "testing"

// TestReserveAcrossGrowth: the segment under way was cut off by the end of the data area when it
// was begun; reserve ran past its recorded end once the area had grown, and never returned.
func TestReserveAcrossGrowth(t *testing.T) {
	w := openWorld(t, &ramFile{}, image{slots: 100, pages: 1, want: newContent()})
	defer w.close()
	first, _ := w.slots.reserve(50, nil)
	w.slots.grow(1000)
	rest, err := w.slots.reserve(1000, nil)
	if err != nil || len(first) != 1 || len(rest) != 1 || rest[0] != (extent{50, 950}) {
		t.Fatalf("reserved %v, then %v, %v", first, rest, err)
	}
}
