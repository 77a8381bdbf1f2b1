package checkpoint

import (
	"context"
	"testing"
)

// TestOpenAfterShrink opens a volume whose map once knew a longer disk than the disk now, or any
// point, has. (What was cut off reads as zeroes, and directories that said so were behind the end.)
func TestOpenAfterShrink(t *testing.T) {
	ctx := context.Background()
	dir := newVolume(t, CreateOptions{Size: 2 << 30, JournalSize: 1 << 20})
	s := open(t, dir, Options{})
	mustWrite(t, s, pattern(make([]byte, 8192), 1), 1800<<20)
	p, err := s.Checkpoint(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Resize(ctx, 32<<20, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, p.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if err := s.Resize(ctx, 2<<30, false); err != nil {
		t.Fatal(err)
	}
	wantAt(t, s, make([]byte, 8192), 1800<<20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantNoFaults(t)(Check(ctx, dir, nil))
}
