package checkpoint

import (
	"context"
	"testing"

	"github.com/belay-vm/belay/internal/bio"
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

// TestDiscardDuringShrink cuts off blocks under a discard that was admitted before. (Its record
// named blocks that the disk no longer had, and replay refused the journal.)
func TestDiscardDuringShrink(t *testing.T) {
	ctx := context.Background()
	dir := newVolume(t, CreateOptions{Size: 64 << 20, JournalSize: 1 << 20})
	s := open(t, dir, Options{})
	mustWrite(t, s, pattern(make([]byte, 8192), 1), 60<<20)
	lane, err := s.NewLane(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	lane.Submit(&bio.Request{Op: bio.Discard, Off: 60 << 20, Len: 8192})
	lane.Dispatch()
	if err := s.Resize(ctx, 32<<20, true); err != nil {
		t.Fatal(err)
	}
	if done := lane.Settle(nil); len(done) != 1 || done[0].Err == nil {
		t.Fatal("a discard behind the end of the disk went through")
	}
	if err := lane.Close(); err != nil {
		t.Fatal(err)
	}
	s.background.end()
	if err := s.closeFiles(); err != nil { // the process dies: the journal is not closed
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
