package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// killed returns a copy of a volume that is open, as the death of its process would leave it.
func killed(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestTakeoverFromTwoUnretiredEpochs writes on while two points wait for their retire, dies, and is
// taken over: the state is that of the last retired point, the generation is raised, and what came
// after stays as a branch.
func TestTakeoverFromTwoUnretiredEpochs(t *testing.T) {
	ctx := context.Background()
	dir := newVolume(t, CreateOptions{Size: 16 << 20, JournalSize: 1 << 20})
	s := open(t, dir, Options{})
	var epochs [4][]byte
	for i := range epochs {
		epochs[i] = pattern(make([]byte, 1<<20), uint64(i))
		mustWrite(t, s, epochs[i], int64(i)<<19) // each covers half of the one before
		var err error
		switch i {
		case 0:
			_, err = s.Checkpoint(ctx, "retired")
		case 1, 2:
			_, err = s.Start("", false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Status().Unretired; n != 2 {
		t.Fatalf("%d points wait for their retire, want 2", n)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	copied := killed(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, copied, Options{Takeover: true})
	wantAt(t, s, epochs[0], 0)
	wantAt(t, s, make([]byte, 15<<20), 1<<20)
	if g := s.Status().Generation; g != 2 {
		t.Errorf("generation %d after a takeover, want 2", g)
	}
	wantNoFaults(t)(s.Check(ctx, nil))
	if _, err := s.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	for i, p := range epochs {
		if i+1 < len(epochs) {
			p = p[:1<<19]
		}
		wantAt(t, s, p, int64(i)<<19)
	}
	for i, id := range []uint32{2, 3} { // the points that waited are readable, too
		v, err := s.View(id)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1<<20)
		if _, err := v.ReadAt(got, int64(i+1)<<19); err != nil || !bytes.Equal(got, epochs[i+1]) {
			t.Errorf("point %d reads otherwise: %v", id, err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTakeoverOfNothing refuses where no point was ever retired, and changes nothing.
func TestTakeoverOfNothing(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 16 << 20, JournalSize: 1 << 20})
	if _, err := Open(dir, Options{Takeover: true}); !errors.Is(err, ErrNoPoint) {
		t.Fatalf("a takeover without a retired point: %v", err)
	}
	s := open(t, dir, Options{})
	if g := s.Status().Generation; g != 1 {
		t.Errorf("generation %d after a takeover that was refused, want 1", g)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
