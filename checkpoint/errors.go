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
	// ErrMirrored marks what a volume does not take while its changes are carried elsewhere.
	ErrMirrored = errors.New("the volume is being mirrored")
	// ErrTooMany marks what would exceed a limit of the format.
	ErrTooMany = errors.New("limit of the format reached")
	// errCounts marks a slot that cannot be named once more.
	errCounts = fmt.Errorf("references to a slot: %w", ErrTooMany)
	// ErrBase marks a base image that is missing or not the one the volume was made on.
	ErrBase = errors.New("base image")
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
	return fmt.Sprintf("%s: corrupt at byte %d: %s is %s, want %s", e.File, e.Offset, e.What, e.Found, e.Want)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// corrupt reports a damaged field of a file.
func corrupt(file string, off int64, what string, found, want any) error {
	return &CorruptError{
		File: file, Offset: off, What: what, Found: fmt.Sprint(found), Want: fmt.Sprint(want),
	}
}

// corruptSum reports a structure whose checksum does not hold.
func corruptSum(file string, off int64, what string, found, want uint32) error {
	return corrupt(file, off, "checksum of "+what, fmt.Sprintf("%#08x", found), fmt.Sprintf("%#08x", want))
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

// invariant ends the process because of a mistake of this package: nothing that a guest, a disk
// or an operator does leads here.
func invariant(what string) { panic("checkpoint: " + what) }
