package checkpoint

import (
	"bytes"
	"errors"
	"testing"
)

func track(t *testing.T, s *Store) *Tracker {
	t.Helper()
	tr, err := s.Track()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// takeInto applies what a tracker yields to a copy of the disk, until an epoch is done or nothing
// is left. It returns the bytes that were data.
func takeInto(t *testing.T, tr *Tracker, disk []byte, max int64) (data int64, done bool) {
	t.Helper()
	summed := false
	defer func() {
		if data > 1<<19 && tr.s.sums != nil && !summed {
			t.Error("no change has a sum")
		}
	}()
	for {
		b, err := tr.Next(max)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return data, false
		}
		for _, c := range b.Changes {
			if !c.Zero {
				data += c.Len
			}
			if err := b.ReadAt(disk[c.Off:c.Off+c.Len], c.Off); err != nil {
				t.Fatal(err)
			}
			if c.Summed && c.Sum != payloadSum(disk[c.Off:c.Off+c.Len]) {
				t.Fatalf("sum of %+v differs", c)
			}
			summed = summed || c.Summed && c.Len > blockSize
		}
		b.Release()
		if b.Done {
			return data, true
		}
	}
}

// TestTrackSealedEpoch overwrites, discards and cuts again before an ended epoch was taken: it
// shows what there was when it ended.
func TestTrackSealedEpoch(t *testing.T) {
	const size = 8<<20 - 512
	for _, sums := range []bool{false, true} {
		s := open(t, newVolume(t, CreateOptions{Size: size, Checksums: sums, JournalSize: 1 << 20}), Options{})
		tr := track(t, s)
		if _, err := s.Track(); !errors.Is(err, ErrMirrored) {
			t.Fatalf("a second tracker: %v", err)
		}
		p := pattern(make([]byte, 1<<20), 1)
		mustWrite(t, s, p, 512)
		mustWrite(t, s, p[:1024], size-1024)
		was := make([]byte, size)
		if _, err := s.ReadAt(was, 0); err != nil {
			t.Fatal(err)
		}
		if e := tr.Cut(); e != 0 {
			t.Fatalf("the first epoch is %d", e)
		}
		q := pattern(make([]byte, 1<<20), 2)
		for round := range 3 { // each round and its flush would free what the first wrote
			mustWrite(t, s, q, int64(round)<<18)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Zero(4096, 64<<10); err != nil {
			t.Fatal(err)
		}
		tr.Cut()
		mustWrite(t, s, q[:8192], 4096*9)
		disk := make([]byte, size)
		if data, done := takeInto(t, tr, disk, 100000); !done || !bytes.Equal(disk, was) {
			t.Fatalf("epoch 0: done %v, %d bytes, content differs: %v", done, data, !bytes.Equal(disk, was))
		}
		if _, done := takeInto(t, tr, disk, 1<<20); !done {
			t.Fatal("epoch 1 is not done")
		}
		if data, done := takeInto(t, tr, disk, 1<<20); done || data != 8192 {
			t.Fatalf("the open epoch has %d bytes, done %v", data, done)
		}
		wantAt(t, s, disk, 0)
		tr.Cut()
		if data, done := takeInto(t, tr, disk, 1<<20); !done || data != 0 {
			t.Fatalf("an epoch without changes has %d bytes, done %v", data, done)
		}
		if err := s.Resize(t.Context(), 1<<20, true); !errors.Is(err, ErrMirrored) {
			t.Fatalf("resize: %v", err)
		}
		wantAt(t, s, disk, 0)
		tr.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrackReturn gives a batch back that could not be sent.
func TestTrackReturn(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 1 << 20}), Options{})
	tr := track(t, s)
	mustWrite(t, s, pattern(make([]byte, 65536), 1), 0)
	b, err := tr.Next(1 << 20)
	if err != nil || len(b.Changes) != 1 || b.Changes[0].Len != 65536 {
		t.Fatalf("%+v, %v", b, err)
	}
	if b, err := tr.Next(1 << 20); b != nil || err != nil {
		t.Fatalf("taken twice: %+v, %v", b, err)
	}
	b.Return()
	select {
	case <-tr.Ready():
	default:
		t.Fatal("nobody is told")
	}
	disk := make([]byte, 1<<20)
	takeInto(t, tr, disk, 4096)
	wantAt(t, s, disk, 0)
	tr.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChanged says what differs from a point, and no more.
func TestChanged(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 64 << 20, JournalSize: 1 << 20}), Options{})
	mustWrite(t, s, pattern(make([]byte, 4<<20), 1), 0)
	p, err := s.Checkpoint(t.Context(), "common")
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, pattern(make([]byte, 1<<20), 2), 1<<20)
	mustWrite(t, s, pattern(make([]byte, 4096), 3), 32<<20)
	for _, at := range []int64{3 << 20, 40 << 20} { // the second shows zeroes already
		if err := s.Zero(at, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Checkpoint(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, pattern(make([]byte, 512), 4), 1<<20)
	want := []mapped{{1 << 20, 1 << 20, false}, {3 << 20, 1 << 20, true}, {32 << 20, 4096, false}}
	wantRanges := func(what string, each func(func(int64, int64, bool) error) error, want []mapped) {
		t.Helper()
		var got []mapped
		err := each(func(off, n int64, zero bool) error {
			if k := len(got) - 1; k >= 0 && got[k].off+got[k].n == off && got[k].zero == zero {
				got[k].n += n
				return nil
			}
			got = append(got, mapped{off, n, zero})
			return nil
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v, %v", what, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	wantRanges("changed", func(fn func(int64, int64, bool) error) error {
		return s.Changed(t.Context(), p.ID, fn)
	}, want)
	wantRanges("allocated", func(fn func(int64, int64, bool) error) error {
		return s.Allocated(t.Context(), fn)
	}, []mapped{{0, 3 << 20, false}, {32 << 20, 4096, false}})
	if err := s.Changed(t.Context(), 77, nil); !errors.Is(err, ErrNoPoint) {
		t.Errorf("since a point that is not there: %v", err)
	}
	if _, err := s.Rollback(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	wantRanges("changed after a rollback", func(fn func(int64, int64, bool) error) error {
		return s.Changed(t.Context(), p.ID, fn)
	}, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
