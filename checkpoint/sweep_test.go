package checkpoint

import (
	"context"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// sweepable is a volume with one deleted point, whose run waits to be swept.
func sweepable(t *testing.T) (*disktest.Disk, *Store) {
	t.Helper()
	d, s := fresh(t, Options{})
	mustWrite(t, s, pattern(make([]byte, 1<<20), 1), 0)
	p, err := s.Checkpoint(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, pattern(make([]byte, 1<<20), 2), 0)
	if err := s.Delete(context.Background(), p.ID); err != nil {
		t.Fatal(err)
	}
	return d, s
}

// TestSweepOnAFullDisk: a sweep that found the journal full asked for a snapshot and was tried again,
// and again, for ever, while the disk had no room for one.
func TestSweepOnAFullDisk(t *testing.T) {
	d, s := sweepable(t)
	for {
		p, err := s.journal.reserve(wordLen, true)
		if err == errJournalFull {
			break
		}
		clear(p)
		s.journal.seal(recordResize, 0, 0, 0)
	}
	d.SetCapacity(d.Used())
	for steps := 0; s.tendOnce(); steps++ {
		if steps > 100 {
			t.Fatal("the background does not rest")
		}
	}
	d.SetCapacity(0)
	for s.tendOnce() {
	}
	if _, r := s.nextSweep(); r != nil {
		t.Fatal("the run was not swept")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenGoesOnSweeping: what a server had not swept when it ended was left to the first background
// work that something else asked for.
func TestOpenGoesOnSweeping(t *testing.T) {
	d, s := sweepable(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenOn(fakeFS{d}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sweep is done", func() bool { return s.Status().Background == "idle" })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
