package disktest

import (
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is an open file of a Disk.
type File struct {
	d        *Disk
	ino      *inode
	name     string
	fd       int
	readOnly bool
	direct   bool
	closed   bool
}

// Fd returns the number by which an Engine of the same disk knows the file.
func (f *File) Fd() int { return f.fd }

// MemAlign returns what addresses of buffers must be multiples of.
func (f *File) MemAlign() int {
	if f.direct {
		return sectorSize
	}
	return 1
}

// ReadAt reads as a process would: what was written, synced or not.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n, err := f.read(p, off)
	if err == nil && n < len(p) {
		return n, io.EOF
	}
	return n, pathError("read", f.name, err)
}

// read returns fewer bytes than asked for at the end of the file.
func (f *File) read(p []byte, off int64) (int, error) {
	if err := f.usable(p, off, false); err != nil {
		return 0, err
	}
	if err := f.d.beginRead(); err != nil {
		return 0, err
	}
	n := min(int64(len(p)), max(0, f.ino.size-off))
	f.ino.readAt(p[:n], off)
	return int(n), nil
}

// WriteAt writes all of p, extending the file as needed.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	op, err := f.d.begin()
	defer f.d.end(op)
	n, err := f.write(p, off, err)
	return n, pathError("write", f.name, err)
}

// write is an operation that fails if fail is not nil; then a part of it may have happened.
func (f *File) write(p []byte, off int64, fail error) (int, error) {
	if err := f.usable(p, off, true); err != nil {
		return 0, err
	}
	if fail != nil {
		part := p[:f.d.rng.IntN(len(p)/sectorSize+1)*sectorSize]
		if f.space(off, int64(len(part))) == nil {
			f.store(part, off)
		}
		return 0, fail
	}
	if err := f.space(off, int64(len(p))); err != nil {
		return 0, err
	}
	f.store(p, off)
	return len(p), nil
}

func (f *File) store(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	if end := off + int64(len(p)); end > f.ino.size {
		f.ino.setSize(end)
	}
	f.ino.hold(off, int64(len(p)))
	f.ino.writeAt(p, off)
}

// usable judges a read or write as the kernel does.
func (f *File) usable(p []byte, off int64, write bool) error {
	switch {
	case f.closed || write && f.readOnly:
		return unix.EBADF
	case off < 0:
		return unix.EINVAL
	case f.direct && (off%sectorSize != 0 || !aligned(p)):
		return unix.EINVAL
	}
	return nil
}

func aligned(p []byte) bool {
	return len(p)%sectorSize == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%sectorSize == 0
}

// space reports whether a range can be written.
func (f *File) space(off, n int64) error {
	if f.ino.device {
		if off+n > f.ino.size {
			return unix.ENOSPC
		}
		return nil
	}
	if c := f.d.capacity; c > 0 && f.d.used()+f.ino.needs(off, n)*pageSize > c {
		return unix.ENOSPC
	}
	return nil
}

// Sync makes content and size stable.
func (f *File) Sync() error {
	op, err := f.d.begin()
	defer f.d.end(op)
	switch {
	case f.closed:
		err = unix.EBADF
	case err != nil:
		f.ino.failSync(f.d.rng.Uint32)
	default:
		f.ino.sync()
	}
	return pathError("sync", f.name, err)
}

// Truncate sets the size.
func (f *File) Truncate(size int64) error {
	op, err := f.d.begin()
	defer f.d.end(op)
	switch {
	case err != nil:
	case f.closed || f.readOnly:
		err = unix.EBADF
	case size < int64(len(f.ino.mem)) || size < 0:
		err = unix.EINVAL // Linux allows it and kills who touches the mapping
	case f.ino.device:
		err = f.space(0, size)
	default:
		f.release(size, f.ino.size-size)
		f.ino.setSize(size)
	}
	return pathError("truncate", f.name, err)
}

// Size returns the size.
func (f *File) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.ino.size, nil
}

// Allocate takes space for a range and extends the file as needed.
func (f *File) Allocate(off, n int64) error {
	op, err := f.d.begin()
	defer f.d.end(op)
	if err == nil {
		err = f.usable(nil, off, true)
	}
	if err == nil {
		err = f.space(off, n)
	}
	if err == nil {
		f.ino.setSize(max(f.ino.size, off+n))
		f.ino.hold(off, n)
	}
	return pathError("allocate", f.name, err)
}

// Punch gives the space of a range back; it reads as zeroes.
func (f *File) Punch(off, n int64) error {
	op, err := f.d.begin()
	defer f.d.end(op)
	if err == nil {
		err = f.usable(nil, off, true)
	}
	if err != nil {
		return pathError("punch", f.name, err)
	}
	n = min(n, f.ino.size-off)
	f.ino.zero(off, n)
	f.release(off, n)
	return nil
}

// release gives up the whole pages of a range; the file's last page is whole at the file's end.
func (f *File) release(off, n int64) {
	last := (off + n) / pageSize
	if off+n == f.ino.size {
		last = int64(pagesOf(f.ino.size))
	}
	for i := (off + pageSize - 1) / pageSize; i < last; i++ {
		if f.ino.holds[i] {
			f.ino.holds[i] = false
			f.ino.held--
		}
	}
}

// Map returns the first n bytes as shared memory. It refuses a hole: storing into one would need
// space at a moment when nobody can be told that there is none.
func (f *File) Map(n int64) ([]byte, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	switch {
	case f.closed:
		return nil, pathError("map", f.name, unix.EBADF)
	case n <= 0 || n > f.ino.size || !f.ino.device && f.ino.needs(0, n) > 0:
		return nil, pathError("map", f.name, unix.EINVAL)
	case f.ino.mem != nil:
		return nil, pathError("map", f.name, unix.EBUSY) // the fake keeps one mapping only
	}
	p, err := f.ino.mapMemory(n)
	if err == nil && f.readOnly {
		err = unix.Mprotect(f.ino.mem, unix.PROT_READ)
	}
	return p, pathError("map", f.name, err)
}

// Unmap ends the mapping.
func (f *File) Unmap(p []byte) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.ino.mem == nil || unsafe.SliceData(p) != unsafe.SliceData(f.ino.mem) {
		return pathError("unmap", f.name, unix.EINVAL)
	}
	f.ino.unmap()
	return nil
}

// Lock takes the file's exclusive lock: EWOULDBLOCK if another open file has it.
func (f *File) Lock() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.ino.lock != nil && f.ino.lock != f {
		return pathError("lock", f.name, errLocked)
	}
	f.ino.lock = f
	return nil
}

// Close ends the use of the file. Its mapping stays.
func (f *File) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, unix.EBADF)
	}
	f.closed = true
	delete(f.d.open, f.fd)
	if f.ino.lock == f {
		f.ino.lock = nil
	}
	return nil
}
