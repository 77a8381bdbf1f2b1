package checkpoint

import (
	"errors"
	"fmt"

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
