package checkpoint

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

// carry moves what a tracker yields into a stage, until an epoch is done. It returns the bytes of
// data.
func carry(t *testing.T, tr *Tracker, st *Stage) (data int64) {
	t.Helper()
	for {
		b, err := tr.Next(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			t.Fatal("nothing is left, and the epoch is not done")
		}
		for _, c := range b.Changes {
			if c.Zero {
				err = st.Zero(c.Off, c.Len)
			} else {
				p := AlignedBuffer(int(c.Len))
				if err = b.ReadAt(p, c.Off); err == nil {
					err = st.Write(c.Off, p)
				}
				data += c.Len
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		b.Release()
		if b.Done {
			return data
		}
	}
}

// TestPairOfStores takes two stores through what a pair does: a full synchronisation, epochs, the
// death of the primary, and re-protection of what was the primary, with no more than what changed.
func TestPairOfStores(t *testing.T) {
	const size = 64<<20 - 512
	ctx := t.Context()
	p := open(t, newVolume(t, CreateOptions{Size: size, JournalSize: 1 << 20}), Options{Pair: true})
	o := CreateOptions{Size: size, Checksums: true, JournalSize: 1 << 20}
	s := open(t, newVolume(t, o), Options{Pair: true})
	mustWrite(t, p, pattern(make([]byte, 5<<20), 1), 512)
	mustWrite(t, p, pattern(make([]byte, 512), 2), size-512)
	base, err := s.Checkpoint(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	tr := track(t, p)
	if n, err := tr.AddAllocated(ctx); err != nil || n != 5<<20+8192-512 {
		t.Fatalf("%d bytes to be synchronised, %v", n, err)
	}
	at := base.ID
	for e := range uint64(3) {
		mustWrite(t, p, pattern(make([]byte, 100<<10), 10+e), int64(e)<<20)
		if err := p.Zero(3<<20+int64(e)<<16, 1<<16); err != nil {
			t.Fatal(err)
		}
		name := string(rune('a' + e))
		if _, number, err := tr.Start(name); err != nil || number != e {
			t.Fatalf("epoch %d: %v", number, err)
		}
		mustWrite(t, s, pattern(make([]byte, 1<<20), 20+e), 2<<20) // the secondary's own
		st := stage(t, s)
		carry(t, tr, st)
		res, err := s.Load(ctx, st, at, name)
		if err != nil {
			t.Fatal(err)
		}
		at = res.Point.ID
		if _, err := p.Retire(ctx); err != nil {
			t.Fatal(err)
		}
		wantSame(t, p, s)
		p.HoldFrom(uint32(e + 1))
		s.HoldFrom(at)
	}
	tr.Close()
	mustWrite(t, p, pattern(make([]byte, 1<<20), 40), 8<<20) // lost with the primary
	mustWrite(t, s, pattern(make([]byte, 1<<20), 41), 16<<20)
	reprotect(t, s, p, "c")
	for _, s := range []*Store{p, s} {
		if err := errors.Join(s.Sync(), audit(s), check(s), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// wantSame compares two disks by the sums of temporary views.
func wantSame(t *testing.T, a, b *Store) {
	t.Helper()
	var sums [2][]uint32
	for i, s := range []*Store{a, b} {
		v, err := s.View(0)
		if err != nil {
			t.Fatal(err)
		}
		sums[i], err = v.Sums(t.Context(), 0, v.Size(), 1<<20)
		if err := errors.Join(err, v.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(sums[0], sums[1]) {
		t.Fatal("the disks differ")
	}
}

// reprotect makes the returning store follow the survivor from a common point on.
func reprotect(t *testing.T, survivor, back *Store, common string) {
	t.Helper()
	from, err := back.Find(common)
	if err != nil {
		t.Fatal(err)
	}
	res, err := back.Rollback(t.Context(), from.ID)
	if err != nil {
		t.Fatal(err)
	}
	base, err := back.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	since, err := survivor.Find(common)
	if err != nil {
		t.Fatal(err)
	}
	tr := track(t, survivor)
	if n, err := tr.AddChanged(t.Context(), since.ID); err != nil || n != 1<<20 {
		t.Fatalf("%d bytes differ, want 1 MiB: %v", n, err)
	}
	if _, _, err := tr.Start("d"); err != nil {
		t.Fatal(err)
	}
	st := stage(t, back)
	if n := carry(t, tr, st); n != 1<<20 {
		t.Errorf("%d bytes were sent", n)
	}
	tr.Close()
	if _, err := back.Load(t.Context(), st, base.ID, "d"); err != nil {
		t.Fatal(err)
	}
	if err := back.Delete(t.Context(), res.Left.ID); err != nil {
		t.Fatal(err)
	}
	wantSame(t, survivor, back)
}

// TestSumsOfHoles sums a state with holes at odd places.
func TestSumsOfHoles(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 8 << 20, JournalSize: 1 << 20}), Options{})
	mustWrite(t, s, pattern(make([]byte, 8192), 1), 4096)
	mustWrite(t, s, pattern(make([]byte, 512), 1), 8<<20-512)
	v, err := s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 8<<20)
	if _, err := v.ReadAt(plain, 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{4096, 5000, 1 << 20, 16 << 20} {
		sums, err := v.Sums(t.Context(), 100, 8<<20-100, n)
		if err != nil {
			t.Fatal(err)
		}
		var want []uint32
		for piece := range slices.Chunk(plain[100:], n) {
			want = append(want, payloadSum(piece))
		}
		if !slices.Equal(sums, want) {
			t.Errorf("sums of pieces of %d bytes differ", n)
		}
	}
	if _, err := v.Sums(t.Context(), 0, 8<<20+1, 4096); err == nil {
		t.Error("sums beyond the end")
	}
	if err := errors.Join(v.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTrackAllocatesNothing holds writes to no allocation while they are tracked and taken.
func TestTrackAllocatesNothing(t *testing.T) {
	r := newAllocRig(t, aio.Inline, 32)
	tr := track(t, r.s)
	defer tr.Close()
	round := int64(0)
	at := func(i int) int64 { return (int64(i)*37 + round*11) % 4000 * 8192 }
	for range 100 {
		round++
		r.batch(t, bio.Write, at)
	}
	n := 1.0
	for range 5 {
		n = min(n, testing.AllocsPerRun(50, func() { round++; r.batch(t, bio.Write, at) }))
	}
	if n > 0 {
		t.Errorf("%v allocations for a batch of 32", n)
	}
	disk := make([]byte, r.s.Size())
	takeInto(t, tr, disk, 1<<20)
	now := make([]byte, len(disk))
	if _, err := r.s.ReadAt(now, 0); err != nil || !bytes.Equal(now, disk) {
		t.Errorf("%v; what was taken differs: %v", err, !bytes.Equal(now, disk))
	}
}
