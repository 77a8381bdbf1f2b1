package checkpoint

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

// fakeFS is a disktest.Disk as an FS. disktest cannot name our types, because it may not import
// the package that it tests.
type fakeFS struct{ *disktest.Disk }

type fakeFile struct{ *disktest.File }

func (d fakeFS) Create(name string) (File, error) { return fake(d.Disk.Create(name)) }

func (d fakeFS) Open(name string, m Mode) (File, error) {
	return fake(d.Disk.Open(name, m&ReadOnly != 0, m&Direct != 0))
}

// fresh makes a small volume on a disk that lies, and opens it to be driven by hand.
func fresh(t *testing.T, o Options) (*disktest.Disk, *Store) {
	t.Helper()
	disk := disktest.New(1)
	t.Cleanup(disk.Close)
	c := CreateOptions{Size: 1 << 20, JournalSize: journalArea + minJournalArea}
	if err := CreateOn(fakeFS{disk}, c); err != nil {
		t.Fatal(err)
	}
	o.ByHand = true
	s, err := OpenOn(fakeFS{disk}, o)
	if err != nil {
		t.Fatal(err)
	}
	return disk, s
}

func fake(f *disktest.File, err error) (File, error) {
	if err != nil {
		return nil, noSpace(err)
	}
	return fakeFile{f}, nil
}

func (f fakeFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, noSpace(err)
}

func (f fakeFile) Allocate(off, n int64) error { return noSpace(f.File.Allocate(off, n)) }

func (f fakeFile) Lock() error {
	err := f.File.Lock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}
