package checkpoint

import (
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// TestFlushLetsGoOfExcess: what a flush round freed beyond the slack stayed where it was until
// something else woke the background.
func TestFlushLetsGoOfExcess(t *testing.T) {
	d := disktest.New(1)
	t.Cleanup(d.Close)
	o := CreateOptions{Size: 16 << 20, JournalSize: journalArea + minJournalArea, Slack: 1}
	if err := CreateOn(fakeFS{d}, o); err != nil {
		t.Fatal(err)
	}
	s, err := OpenOn(fakeFS{d}, Options{KeepHoles: true, tuning: &tuning{
		regionSlots: 16, growSlots: 64, minSlack: 64, unprovenBlocks: 1 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, pattern(make([]byte, 8<<20), 1), 0)
	if err := s.Discard(0, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "holes are punched", func() bool { return s.Status().Punched >= 6<<20 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// openTight returns a store with hardly any slack and 8 MiB of data, whose background work is left
// to the test.
func openTight(t *testing.T) *Store {
	t.Helper()
	d := disktest.New(1)
	t.Cleanup(d.Close)
	o := CreateOptions{Size: 16 << 20, JournalSize: journalArea + minJournalArea, Slack: 1}
	if err := CreateOn(fakeFS{d}, o); err != nil {
		t.Fatal(err)
	}
	s, err := OpenOn(fakeFS{d}, Options{ByHand: true, tuning: &tuning{
		regionSlots: 16, growSlots: 64, minSlack: 64, unprovenBlocks: 1 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	mustWrite(t, s, pattern(make([]byte, 8<<20), 1), 0)
	return s
}

// rest does all background work that there is while nothing is written.
func rest(s *Store) {
	for s.flushOnce() || s.tendOnce() {
	}
}

// over returns how many slots are beyond the bound.
func over(s *Store) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.excess()
}

// overwriteHalf writes every other block of the first 8 MiB.
func overwriteHalf(t *testing.T, s *Store) {
	t.Helper()
	for off := int64(0); off < 8<<20; off += 2 * blockSize {
		mustWrite(t, s, make([]byte, blockSize), off)
	}
}

// TestRecurringPointsKeepTheirSpace: what a released point gives up is what the next epoch needs.
func TestRecurringPointsKeepTheirSpace(t *testing.T) {
	s := openTight(t)
	var last Point
	for range 6 {
		if _, err := s.Start("", false); err != nil {
			t.Fatal(err)
		}
		overwriteHalf(t, s)
		var err error
		if last, err = s.Retire(t.Context()); err != nil {
			t.Fatal(err)
		}
		rest(s)
	}
	if n := s.Status().Punched; n != 0 {
		t.Errorf("%d bytes were punched between the points", n)
	}
	if err := s.Delete(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	rest(s)
	rest(s) // the first look only finds that something was written before
	if n := s.Status().Punched; n == 0 || over(s) != 0 {
		t.Errorf("%d bytes punched, %d slots beyond the bound when there are no points any more", n, over(s))
	}
}

// TestSmallHolesWaitForQuiet: beside requests only whole segments are punched.
func TestSmallHolesWaitForQuiet(t *testing.T) {
	s := openTight(t)
	p, err := s.Checkpoint(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	overwriteHalf(t, s)
	if err := s.Delete(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		mustWrite(t, s, make([]byte, blockSize), 8<<20)
		more = s.flushOnce()
		more = s.tendOnce() || more
	}
	if n := s.Status().Punched; n != 0 || over(s) == 0 {
		t.Errorf("%d bytes punched beside requests, %d slots beyond the bound", n, over(s))
	}
	rest(s)
	rest(s)
	if over(s) != 0 {
		t.Errorf("%d slots beyond the bound in a quiet store", over(s))
	}
}
