package checkpoint

import (
	"context"
	"errors"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// fullVolume is an open volume on a disk that has no room left.
func fullVolume(t *testing.T) (*disktest.Disk, *Store) {
	t.Helper()
	d := disktest.New(1)
	if err := CreateOn(fakeFS{d}, CreateOptions{Size: 64 << 20, JournalSize: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	s, err := OpenOn(fakeFS{d}, Options{tuning: &tuning{
		regionSlots: 16, growSlots: 64, minSlack: 64, unprovenBlocks: 1 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, pattern(make([]byte, 1<<20), 1), 0)
	d.SetCapacity(d.Used())
	return d, s
}

// A full disk refuses writes and nothing else; when there is room again, all goes on, and status
// says nothing of it any more.
func TestFullDiskPasses(t *testing.T) {
	d, s := fullVolume(t)
	_, err := s.WriteAt(pattern(make([]byte, 8<<20), 3), 8<<20)
	if !errors.Is(err, ErrNoSpace) || s.Status().Error == "" {
		t.Fatalf("%v; status says %q", err, s.Status().Error)
	}
	wantAt(t, s, pattern(make([]byte, 1<<20), 1), 0)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(context.Background(), "full"); err != nil {
		t.Fatal(err)
	}
	d.SetCapacity(0)
	mustWrite(t, s, pattern(make([]byte, 8<<20), 2), 8<<20)
	if st := s.Status(); st.Error != "" {
		t.Fatal(st.Error)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Closing on a full disk loses nothing, and is no failure: the journal has it.
func TestCloseOnFullDisk(t *testing.T) {
	d, s := fullVolume(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenOn(fakeFS{d.Cut(disktest.PowerCut)}, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantAt(t, s, pattern(make([]byte, 1<<20), 1), 0)
}
