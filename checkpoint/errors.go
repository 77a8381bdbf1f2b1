package checkpoint

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// Errors of a store. Others wrap one of these with the place and the values found.
var (
	// ErrNotVolume marks a file that does not begin with the magic of its kind.
	ErrNotVolume = errors.New("not a belay volume")
	// ErrVersion marks a file of a format version that this program does not know.
	ErrVersion = errors.New("format version not supported")
	// ErrCorrupt marks damaged metadata or data; the error is a *CorruptError.
	ErrCorrupt = errors.New("corrupt")
	// ErrLocked marks a store, or its device, that somebody else has open.
	ErrLocked = errors.New("in use by another process")
	// ErrPoisoned marks a store whose disk failed a sync. It stays so until it is reopened.
	ErrPoisoned = errors.New("store stopped after a failed sync")
	// ErrNoSpace marks a disk, or a data area, without a free place.
	ErrNoSpace = bio.ErrNoSpace
	// ErrNoPoint marks a point that does not exist.
	ErrNoPoint = errors.New("no such point")
	// ErrExists marks a name that is taken.
	ErrExists = errors.New("already exists")
	// ErrUnretired marks a start while too many points wait for their retire.
	ErrUnretired = errors.New("too many points are not retired")
	// ErrShrink marks a resize that would cut off part of the disk.
	ErrShrink = errors.New("would shrink the disk")
	// ErrBase marks a base image that is missing or not the one the volume was made on.
	ErrBase = errors.New("base image does not fit")
)

// CorruptError says where a file is damaged, what was found and what belongs there.
type CorruptError struct {
	File   string // name in the volume's directory
	Offset int64  // in the file, of the field or of the structure that holds it
	What   string // the field, in the words of docs/FORMAT.md
	Found  string
	Want   string
}

func (e *CorruptError) Error() string {
	file := e.File
	if file == "" {
		file = "(memory)"
	}
	return fmt.Sprintf("%s: corrupt at byte %d: %s is %s, want %s", file, e.Offset, e.What, e.Found, e.Want)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// corrupt reports a field at an offset of the byte slice being decoded.
func corrupt(off int, what string, found, want any) *CorruptError {
	return &CorruptError{Offset: int64(off), What: what, Found: fmt.Sprint(found), Want: fmt.Sprint(want)}
}

// checksumError reports a structure whose checksum does not hold.
func checksumError(off int, what string, found, want uint32) *CorruptError {
	return corrupt(off, what+" checksum", fmt.Sprintf("%#08x", found), fmt.Sprintf("%#08x", want))
}

// located adds the file, and the place in it of the decoded bytes, to an error of a decoder.
func located(err error, file string, base int64) error {
	if err == nil {
		return nil
	}
	var c *CorruptError
	if errors.As(err, &c) && c.File == "" {
		at := *c
		at.File, at.Offset = file, c.Offset+base
		return &at
	}
	return fmt.Errorf("%s: byte %d: %w", file, base, err)
}

// poison marks the error of a failed sync.
func poison(err error) error { return fmt.Errorf("%w: %w", ErrPoisoned, err) }

// noSpace marks an error of the operating system that means a full disk.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
