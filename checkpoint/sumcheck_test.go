package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A damaged block is an error for whoever reads it, through a lane or a view, and status says
// where it lies; its neighbours are untouched.
func TestDamagedData(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 256 << 10, Checksums: true})
	s := open(t, dir, Options{})
	defer s.Close()
	p := pattern(make([]byte, 4*blockSize), 1)
	mustWrite(t, s, p, 0)
	f, err := os.OpenFile(filepath.Join(dir, dataName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{^p[2*blockSize+9]}, 2*blockSize+9); err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.Error != "" {
		t.Fatal("before anybody read it:", st.Error)
	}
	v, err := s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for name, read := range map[string]func([]byte, int64) (int, error){"lane": s.ReadAt, "view": v.ReadAt} {
		if _, err := read(make([]byte, 512), 2*blockSize+1024); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := read(make([]byte, 2*blockSize), 0); err != nil {
			t.Errorf("%s: its neighbours: %v", name, err)
		}
	}
	const place = "data: corrupt at byte 8192: "
	if st := s.Status(); !strings.HasPrefix(st.Error, place) || st.BadSums == 0 {
		t.Fatalf("status says %q, %d", st.Error, st.BadSums)
	}
}
