package checkpoint

import "testing"

// The guest's choice of a write cache stays with the volume, and is changed by nobody who may only
// read.
func TestWriteThroughStays(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 256 << 10})
	for _, on := range []bool{false, true, true, false, false, true} {
		s := open(t, dir, Options{})
		if err := s.SetWriteThrough(on); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Options{ReadOnly: true})
		if err := s.SetWriteThrough(!on); err != nil {
			t.Fatal(err)
		}
		if found, err := s.WriteThrough(); err != nil || found != on {
			t.Fatalf("%v instead of %v: %v", found, on, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
