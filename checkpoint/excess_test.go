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
	if err := createOn(fakeFS{d}, o); err != nil {
		t.Fatal(err)
	}
	s, err := openOn(fakeFS{d}, Options{KeepHoles: true, tuning: &tuning{
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
