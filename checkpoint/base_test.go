package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A base that shrank under an open volume is an I/O error and not zeroes; what lies behind the
// end that it always had is zeroes.
func TestBaseThatShrinks(t *testing.T) {
	dir := t.TempDir()
	image, vol := filepath.Join(dir, "image"), filepath.Join(dir, "vol")
	content := bytes.Repeat([]byte("base"), (64<<10+512)/4)
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Create(vol, CreateOptions{Size: 1 << 20, Base: image, BaseFormat: "raw", JournalSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(vol, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v, err := s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p, want := make([]byte, 128<<10), make([]byte, 128<<10)
	copy(want, content)
	for name, read := range map[string]func([]byte, int64) (int, error){"lane": s.ReadAt, "view": v.ReadAt} {
		if _, err := read(p, 0); err != nil || !bytes.Equal(p, want) {
			t.Errorf("%s: the whole base: %v", name, err)
		}
	}
	if err := os.Truncate(image, 10000); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func([]byte, int64) (int, error){"lane": s.ReadAt, "view": v.ReadAt} {
		for _, off := range []int64{0, 8192, 12288, 60 << 10} {
			if _, err := read(p, off); !errors.Is(err, errShort) {
				t.Errorf("%s: from %d on, behind the base's end: %v", name, off, err)
			}
		}
		if _, err := read(p[:8192], 0); err != nil || !bytes.Equal(p[:8192], want[:8192]) {
			t.Errorf("%s: before the base's end: %v", name, err)
		}
	}
}
