package checkpoint

import (
	"errors"
	"io/fs"
)

// writeThroughName is an empty file that is there while the guest wants no write cache.
const writeThroughName = "write-through"

// WriteThrough reports whether the guest switched its write cache off and not on again.
func (s *Store) WriteThrough() (bool, error) { return s.fs.Exists(writeThroughName) }

// SetWriteThrough remembers it for the next server of the same guest. Nothing is synced: a guest
// outlives its server, but not the kernel, and a new guest asks anew.
func (s *Store) SetWriteThrough(on bool) error {
	if s.opts.ReadOnly {
		return nil // nobody writes
	}
	if !on {
		if err := s.fs.Remove(writeThroughName); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	f, err := s.fs.Create(writeThroughName)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
