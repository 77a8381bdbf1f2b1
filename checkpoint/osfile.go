package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bootIDFile is random and made anew by the kernel at each start.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Dir is the file system below a directory of the host.
func Dir(path string) FS { return dirFS(path) }

type dirFS string

func (d dirFS) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(string(d), name)
}

func (d dirFS) Create(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, noSpace(err)
	}
	return &osFile{f: f, fd: int(f.Fd()), align: 1}, nil
}

func (d dirFS) Open(name string, m Mode) (File, error) {
	path := d.path(name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	device := info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0
	if !device && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a file nor a block device", path)
	}
	align := 1
	if m&Direct != 0 {
		align = directAlign(path)
	}
	f, err := os.OpenFile(path, openFlags(m, device, align), 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return &osFile{f: f, fd: int(f.Fd()), device: device, readOnly: m&ReadOnly != 0, align: align}, nil
}

// openFlags: O_EXCL without O_CREAT claims a block device against mounts and other claims.
func openFlags(m Mode, device bool, align int) int {
	flags := os.O_RDWR
	if m&ReadOnly != 0 {
		flags = os.O_RDONLY
	} else if device {
		flags |= unix.O_EXCL
	}
	if align > 1 {
		flags |= unix.O_DIRECT
	}
	return flags
}

// directAlign asks the kernel what O_DIRECT needs: the alignment of memory, place and length, or 1
// where it is not known to work with whole blocks.
func directAlign(path string) int {
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_DIOALIGN, &st) })
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return 1
	}
	return alignOf(st.Dio_mem_align, st.Dio_offset_align)
}

// alignOf returns one alignment for addresses, places and lengths. Those of places differ where the
// sectors of the disk are longer than 512 bytes.
func alignOf(mem, off uint32) int {
	if mem == 0 || mem > blockSize || off == 0 || off > blockSize {
		return 1
	}
	return int(max(mem, off))
}

func (d dirFS) Remove(name string) error { return os.Remove(d.path(name)) }

func (d dirFS) Exists(name string) (bool, error) {
	_, err := os.Stat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d dirFS) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d dirFS) BootID() string {
	p, err := os.ReadFile(bootIDFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(p))
}

// osFile is a file or block device of the host. Its fields never change.
type osFile struct {
	f        *os.File
	fd       int
	device   bool
	readOnly bool
	align    int
}

func (o *osFile) Fd() int       { return o.fd }
func (o *osFile) MemAlign() int { return o.align }
func (o *osFile) Close() error  { return o.f.Close() }

func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

// ReadAhead reads into the page cache, and waits no longer than it takes to ask for it.
func (o *osFile) ReadAhead(off, n int64) {
	const most = 128 << 10 // the kernel passes over what is longer than its own reading ahead
	for ; n > 0; off, n = off+most, n-most {
		_ = retry(func() error { return unix.Fadvise(o.fd, off, min(n, most), unix.FADV_WILLNEED) })
	}
}

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := o.f.WriteAt(p, off)
	return n, noSpace(err)
}

func (o *osFile) Sync() error {
	return o.wrap("fdatasync", retry(func() error { return unix.Fdatasync(o.fd) }))
}

func (o *osFile) Truncate(size int64) error {
	if o.device {
		return o.within(size)
	}
	return noSpace(o.f.Truncate(size))
}

// Size asks a device by seeking to its end, which needs no ioctl that some devices lack.
func (o *osFile) Size() (int64, error) {
	if o.device {
		n, err := unix.Seek(o.fd, 0, unix.SEEK_END)
		return n, o.wrap("size", err)
	}
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *osFile) Allocate(off, n int64) error {
	if o.device {
		return o.within(off + n)
	}
	err := retry(func() error { return unix.Fallocate(o.fd, 0, off, n) })
	if err == nil && o.align > 1 {
		return o.layOut(off, n)
	}
	if !unsupported(err) {
		return o.wrap("fallocate", err)
	}
	size, err := o.Size()
	if err != nil || size >= off+n {
		return err
	}
	return o.Truncate(off + n)
}

func (o *osFile) Punch(off, n int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	err := retry(func() error { return unix.Fallocate(o.fd, mode, off, n) })
	if unsupported(err) {
		return nil
	}
	return o.wrap("punch", err)
}

func (o *osFile) Map(n int64) ([]byte, error) {
	size, err := o.Size()
	if err != nil {
		return nil, err
	}
	if n <= 0 || n > size {
		return nil, o.wrap("mmap", unix.EINVAL)
	}
	prot := unix.PROT_READ | unix.PROT_WRITE
	if o.readOnly {
		prot = unix.PROT_READ
	}
	p, err := unix.Mmap(o.fd, 0, int(n), prot, unix.MAP_SHARED)
	return p, o.wrap("mmap", err)
}

func (o *osFile) Unmap(p []byte) error { return o.wrap("munmap", unix.Munmap(p)) }

func (o *osFile) Lock() error {
	err := retry(func() error { return unix.Flock(o.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", o.f.Name(), ErrLocked)
	}
	return o.wrap("flock", err)
}

// within reports whether a device is large enough; its size cannot be changed.
func (o *osFile) within(end int64) error {
	size, err := o.Size()
	if err == nil && end > size {
		err = fmt.Errorf("%s holds %d bytes, not %d: %w", o.f.Name(), size, end, ErrNoSpace)
	}
	return err
}

func (o *osFile) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return noSpace(&fs.PathError{Op: op, Path: o.f.Name(), Err: err})
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENODEV)
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
