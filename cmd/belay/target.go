package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/control"
)

// target is the file or device that an export fills. A file grows under a temporary name beside
// its place and takes the place only when it is complete, so that nothing that looks whole is
// ever half; a device has no other name and is written where it is.
type target struct {
	path   string // where the content ends up, symbolic links resolved
	temp   string // the name it has until it is complete; empty for a device
	file   *os.File
	device bool
	size   int64 // of the disk
	end    int64 // of what was written
	bar    *bar
}

// openTarget opens what path names. The volume's own files are refused.
func openTarget(path string, own []string, b *bar) (*target, error) {
	t := &target{path: path, bar: b}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		t.path = real
	}
	st, err := os.Stat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, reason(err)
	case st.Mode().IsDir():
		return nil, fmt.Errorf("%s: is a directory", path)
	case st.Mode().Type()&fs.ModeDevice != 0 && st.Mode().Type()&fs.ModeCharDevice == 0:
		t.device = true
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is neither a file nor a block device", path)
	}
	if err == nil {
		if err := refuseOwn(path, st, own); err != nil {
			return nil, err
		}
	}
	if t.device {
		// O_EXCL on a block device refuses one that is mounted or used otherwise.
		t.file, err = os.OpenFile(t.path, os.O_RDWR|unix.O_EXCL, 0)
	} else {
		t.file, t.temp, err = createBeside(t.path)
	}
	if err != nil {
		return nil, reason(err)
	}
	return t, nil
}

// refuseOwn refuses a target that is one of the volume's own files.
func refuseOwn(path string, st fs.FileInfo, own []string) error {
	for _, name := range own {
		if mine, err := os.Stat(name); err == nil && os.SameFile(mine, st) {
			return &control.Error{Code: control.CodeInUse, Message: path + ": belongs to the volume itself"}
		}
	}
	return nil
}

// createBeside makes a file with a temporary name in the directory of path.
func createBeside(path string) (*os.File, string, error) {
	dir, name := filepath.Split(path)
	for i := 0; ; i++ {
		temp := filepath.Join(dir, "."+name+"."+strconv.Itoa(os.Getpid())+"."+strconv.Itoa(i)+".part")
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) || i >= 100 {
			return f, temp, err
		}
	}
}

// Begin makes room for a disk. It is a method of control.Sink.
func (t *target) Begin(size int64) error {
	t.size = size
	if !t.device {
		return t.fault(t.file.Truncate(size))
	}
	room, err := t.file.Seek(0, 2)
	if err != nil {
		return t.fault(err)
	}
	if room < size {
		return &control.Error{Code: control.CodeNoSpace,
			Message: fmt.Sprintf("%s: device of %s is too small for a disk of %s", t.path, amount(room), amount(size))}
	}
	return nil
}

// Data writes one piece. It is a method of control.Sink.
func (t *target) Data(p []byte, off int64) error {
	if err := t.zero(off); err != nil {
		return err
	}
	if _, err := t.file.WriteAt(p, off); err != nil {
		return t.fault(err)
	}
	t.end = off + int64(len(p))
	t.bar.set(t.end, t.size)
	return nil
}

// zero writes zeroes from the end of what was written up to off. A new file has them already.
func (t *target) zero(off int64) error {
	if !t.device || t.end >= off {
		return nil
	}
	zeroes := make([]byte, 1<<20)
	for t.end < off {
		n := min(int64(len(zeroes)), off-t.end)
		if _, err := t.file.WriteAt(zeroes[:n], t.end); err != nil {
			return t.fault(err)
		}
		t.end += n
	}
	return nil
}

// commit makes the content durable and gives it its name.
func (t *target) commit() error {
	if err := t.zero(t.size); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return t.fault(err)
	}
	if err := t.file.Close(); err != nil {
		return t.fault(err)
	}
	if t.device {
		return nil
	}
	if err := os.Rename(t.temp, t.path); err != nil {
		return t.fault(err)
	}
	t.temp = ""
	return t.fault(syncDir(filepath.Dir(t.path)))
}

// fault names the target where the system names the file that it is for the time being.
func (t *target) fault(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = &fs.PathError{Op: path.Op, Path: t.path, Err: path.Err}
	}
	return reason(err)
}

// discard drops what was not committed; after commit it does nothing.
func (t *target) discard() {
	_ = t.file.Close() // nothing of it is wanted, or it is closed
	if t.temp != "" {
		_ = os.Remove(t.temp)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
