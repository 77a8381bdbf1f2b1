package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// pattern fills p with bytes that a seed determines.
func pattern(p []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func newVolume(t *testing.T, o CreateOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vol")
	if err := Create(dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustWrite(t *testing.T, s *Store, p []byte, off int64) {
	t.Helper()
	if _, err := s.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func wantAt(t *testing.T, s *Store, want []byte, off int64) {
	t.Helper()
	p := make([]byte, len(want))
	if _, err := s.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, want) {
		t.Fatalf("content at byte %d differs", off)
	}
}

// TestLife takes a volume through everything once: writes of odd lengths, a checkpoint, a
// rollback, its undoing, and openings in between.
func TestLife(t *testing.T) {
	for _, sums := range []bool{false, true} {
		ctx := context.Background()
		dir := newVolume(t, CreateOptions{Size: 1 << 30, Checksums: sums, JournalSize: 1 << 20})
		s := open(t, dir, Options{})
		old := pattern(make([]byte, 3<<20), 1)
		odd := pattern(make([]byte, 1536), 2)
		mustWrite(t, s, old, 512)
		mustWrite(t, s, odd, 7*512)
		copy(old[6*512:], odd)
		wantAt(t, s, old, 512)
		p, err := s.Checkpoint(ctx, "first")
		if err != nil {
			t.Fatal(err)
		}
		young := pattern(make([]byte, 2<<20), 3)
		mustWrite(t, s, young, 1<<20)
		if err := s.Zero(0, 5*512); err != nil {
			t.Fatal(err)
		}
		wantAt(t, s, young, 1<<20)
		wantAt(t, s, make([]byte, 5*512), 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Options{})
		wantAt(t, s, young, 1<<20)
		wantAt(t, s, make([]byte, 5*512), 0)
		v, err := s.View(p.ID)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(old))
		if _, err := v.ReadAt(got, 512); err != nil || !bytes.Equal(got, old) {
			t.Fatal("the view shows something else", err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rollback(ctx, p.ID); err != nil {
			t.Fatal(err)
		}
		wantAt(t, s, old, 512)
		if _, err := s.Undo(ctx); err != nil {
			t.Fatal(err)
		}
		wantAt(t, s, young, 1<<20)
		for _, p := range s.Points() {
			if err := s.Delete(ctx, p.ID); err != nil {
				t.Fatal(err)
			}
		}
		wantNoFaults(t)(s.Check(ctx, nil))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantNoFaults(t)(Check(ctx, dir, nil))
		s = open(t, dir, Options{})
		wantAt(t, s, young, 1<<20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantNoFaults(t *testing.T) func(CheckReport, error) {
	return func(r CheckReport, err error) {
		t.Helper()
		if err != nil || len(r.Faults) > 0 {
			t.Fatalf("check: %v, %+v", err, r)
		}
	}
}

// TestViewBeyondTheDisk reads a point that knows a longer disk than the one opened. (The map was
// as long as the disk now, so that the rest of the point could not be read.)
func TestViewBeyondTheDisk(t *testing.T) {
	ctx := context.Background()
	dir := newVolume(t, CreateOptions{Size: 64 << 20, JournalSize: 1 << 20})
	s := open(t, dir, Options{})
	far := pattern(make([]byte, 8192), 1)
	mustWrite(t, s, far, 60<<20)
	p, err := s.Checkpoint(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Resize(ctx, 32<<20, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	v, err := s.View(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4<<20)
	if _, err := v.ReadAt(got, 60<<20); err != nil || !bytes.Equal(got[:8192], far) {
		t.Fatalf("the point's end reads otherwise: %v", err)
	}
	for _, end := range []func() error{v.Close, s.Close} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for what background work brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// TestCheckpointsTogether takes checkpoints from many goroutines. (Who found his own retired by
// another was told that there was none.)
func TestCheckpointsTogether(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 16 << 20, JournalSize: 1 << 20}), Options{MaxUnretired: 100})
	errs := make(chan error)
	const n = 24
	for range n {
		go func() {
			p, err := s.Checkpoint(context.Background(), "")
			if err == nil && !p.Retired {
				err = fmt.Errorf("checkpoint %d is not retired", p.ID)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := len(s.Points()); got != n {
		t.Errorf("%d points, want %d", got, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start("late", true); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a start after Close: %v", err)
	}
}
