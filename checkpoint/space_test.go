package checkpoint

import (
	"slices"
	"testing"
)

// TestFlushForSpaceAmongOthers: a flush round that freed slots counted for nothing if others gave up
// as many meanwhile, and requests failed for want of space that was there.
func TestFlushForSpaceAmongOthers(t *testing.T) {
	_, s := fresh(t, Options{})
	p := make([]byte, 64<<10)
	mustWrite(t, s, p, 0)
	mustWrite(t, s, p, 0)
	usual := flushOrder
	defer func() { flushOrder = usual }()
	flushOrder = slices.Clone(usual)
	flushOrder[0].do = func(s *Store, r *flushRound) error {
		mustWrite(t, s, p, 0)
		mustWrite(t, s, p, 0)
		return usual[0].do(s, r)
	}
	if !s.flushForSpace() {
		t.Fatal("what was freed is not seen")
	}
	if flushOrder = usual; s.Close() != nil {
		t.Fatal("close")
	}
}
