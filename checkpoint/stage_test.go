package checkpoint

import (
	"bytes"
	"errors"
	"testing"

	"github.com/belay-vm/belay/internal/bio"
)

func stage(t *testing.T, s *Store) *Stage {
	t.Helper()
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func mustStage(t *testing.T, st *Stage, p []byte, off int64) {
	t.Helper()
	if err := st.Write(off, p); err != nil {
		t.Fatal(err)
	}
}

// TestLoad takes a secondary through two epochs: what is staged is not seen before, its own writes
// go with the load, also where nothing was staged, and no space is lost.
func TestLoad(t *testing.T) {
	const size = 8<<20 - 1024
	for _, sums := range []bool{false, true} {
		dir := newVolume(t, CreateOptions{Size: size, Checksums: sums, JournalSize: 1 << 20})
		s := open(t, dir, Options{})
		want := pattern(make([]byte, size), 1)
		mustWrite(t, s, want, 0)
		base, err := s.Checkpoint(t.Context(), "base")
		if err != nil {
			t.Fatal(err)
		}
		at := base.ID
		for round := range uint64(2) {
			st := stage(t, s)
			own := pattern(make([]byte, 3<<20), 10+round)
			mustStage(t, st, own[:1<<20], 2<<20) // replaced by what follows
			mustStage(t, st, pattern(want[1<<20:3<<20], 20+round), 1<<20)
			mustStage(t, st, pattern(want[size-7168:], 30+round), size-7168)
			if err := st.Zero(6<<20, 65536); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, s, own, 512) // in part what is staged
			if err := s.Zero(4<<20, 8192); err != nil {
				t.Fatal(err)
			}
			wantAt(t, s, own, 512)
			clear(want[6<<20:][:65536])
			res, err := s.Load(t.Context(), st, at, "")
			if err != nil {
				t.Fatal(err)
			}
			wantAt(t, s, want, 0)
			if !res.Point.Retired || res.Point.ID != at+1 || res.Loaded != 2<<8+2+16 {
				t.Fatalf("%+v", res)
			}
			at = res.Point.ID
		}
		if ps := s.Points(); len(ps) != 2 || ps[0].ID != base.ID || ps[1].ID != at {
			t.Fatalf("points: %+v", ps)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		for s.tendOnce() {
		}
		if err := audit(s); err != nil {
			t.Fatal(err)
		}
		copied := killed(t, dir)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantNoFaults(t)(Check(t.Context(), copied, nil))
		s = open(t, copied, Options{})
		wantAt(t, s, want, 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoadRefused loads what must not be loaded. Nothing changes.
func TestLoadRefused(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 256 << 10}), Options{})
	old, err := s.Checkpoint(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	own := pattern(make([]byte, 4096), 1)
	mustWrite(t, s, own, 0)
	st := stage(t, s)
	mustStage(t, st, pattern(make([]byte, 8192), 2), 0)
	bad := []struct{ off, n int64 }{{1, 4096}, {512, 4096}, {0, 512}, {-4096, 4096}, {1 << 20, 4096}, {0, 0}}
	for _, bad := range bad {
		if err := st.Write(bad.off, make([]byte, bad.n)); !errors.Is(err, bio.ErrRange) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	load := func(st *Stage, base uint32, want error) {
		t.Helper()
		if _, err := s.Load(t.Context(), st, base, ""); !errors.Is(err, want) {
			t.Errorf("load onto %d: %v, want %v", base, err, want)
		}
	}
	load(st, old.ID, ErrNoPoint)
	load(st, 77, ErrNoPoint)
	tr := track(t, s)
	load(st, old.ID+1, ErrMirrored)
	tr.Close()
	if err := st.Write(0, own); !errors.Is(err, errStageOver) {
		t.Errorf("a write to a sealed stage: %v", err)
	}
	st.Drop()
	st.Drop()
	load(st, old.ID+1, errStageOver)
	wantAt(t, s, own, 0)
	if err := audit(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLoadTooLarge refuses at Seal what the journal cannot take at one stroke.
func TestLoadTooLarge(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 64 << 20, JournalSize: journalArea + minJournalArea})
	s := open(t, dir, Options{})
	if _, err := s.Checkpoint(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	st := stage(t, s)
	for i := range int64(8000) {
		mustStage(t, st, make([]byte, 4096), i*8192)
	}
	if err := st.Seal(); !errors.Is(err, ErrTooMany) {
		t.Fatalf("sealed: %v", err)
	}
	st.Drop()
	if err := audit(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLoadWithoutEnd loads onto a block that only the own guest changes, until its count would have
// overflowed had nobody swept. Replay passes sweeps over where it leaves work for later, and meets
// the same.
func TestLoadWithoutEnd(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 4 << 20})
	s := open(t, dir, Options{ByHand: true})
	want := pattern(make([]byte, 4096), 1)
	for i := range int64(64) { // so that the map has a leaf on the disk
		mustWrite(t, s, want, i*8192)
	}
	p, err := s.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{ByHand: true})
	for i := range 600 {
		st := stage(t, s)
		mustStage(t, st, want, 4096)
		mustWrite(t, s, make([]byte, 4096), 0)
		res, err := s.Load(t.Context(), st, p.ID, "")
		if err != nil {
			t.Fatalf("load %d: %v", i, err)
		}
		p = res.Point
		for i%3 == 0 && s.tendOnce() { // those that nobody asks for are swept when they are in the way
		}
	}
	for _, dir := range []string{killed(t, dir), ""} {
		s := s
		if dir != "" {
			s = open(t, dir, Options{ByHand: true})
			if !s.unordered {
				t.Error("replay left nothing for later")
			}
		}
		wantAt(t, s, want, 0)
		wantAt(t, s, want, 4096)
		if err := errors.Join(audit(s), check(s), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStageOverwrites stages the same blocks over and over: places come back meanwhile.
func TestStageOverwrites(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 4 << 20, JournalSize: 1 << 20}), Options{})
	p, err := s.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	st := stage(t, s)
	var last []byte
	for i := range uint64(200) {
		last = pattern(make([]byte, 1<<20), i)
		mustStage(t, st, last, int64(i%3)*4096)
	}
	if n := s.Status().DataArea; n > 300<<20 {
		t.Errorf("the data area has %d MiB", n>>20)
	}
	if _, err := s.Load(t.Context(), st, p.ID, "pair/1/0"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1<<20)
	if _, err := s.ReadAt(got, 199%3*4096); err != nil || !bytes.Equal(got, last) {
		t.Fatalf("%v; content differs: %v", err, !bytes.Equal(got, last))
	}
	if _, err := s.Find("pair/1/0"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(audit(s), check(s), s.Close()); err != nil {
		t.Fatal(err)
	}
}
