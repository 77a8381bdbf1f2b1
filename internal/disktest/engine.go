package disktest

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// Engine is a bio.Engine whose operations wait until Step completes one of them, in no order. An
// operation reads or fills its buffers when it completes, or when a cut catches it in flight.
type Engine struct {
	d *Disk
	// Short makes some operations move only a part of their bytes, as the kernel may.
	Short bool
	ops   []engineOp // the disk's mutex guards it
}

type engineOp struct {
	fd    int
	iov   []unix.Iovec
	off   int64
	tag   uint64
	write bool
	sync  bool
	upTo  moment // of a sync: what it must cover
}

var _ bio.Engine = (*Engine)(nil)

// NewEngine returns an engine for the files of this disk.
func (d *Disk) NewEngine() *Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &Engine{d: d}
	d.engines = append(d.engines, e)
	return e
}

// Readv queues a read.
func (e *Engine) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.push(engineOp{fd: fd, iov: iov, off: off, tag: tag})
}

// Writev queues a write.
func (e *Engine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.push(engineOp{fd: fd, iov: iov, off: off, tag: tag, write: true})
}

// Fdatasync queues a sync. It covers what was complete when it was queued; of what came later,
// all or nothing.
func (e *Engine) Fdatasync(fd int, tag uint64) {
	op := engineOp{fd: fd, tag: tag, sync: true}
	e.d.mu.Lock()
	if f := e.d.open[fd]; f != nil {
		op.upTo = f.ino.now()
	}
	e.d.mu.Unlock()
	e.push(op)
}

func (e *Engine) push(op engineOp) {
	if len(op.iov) > bio.MaxVectors {
		panic("disktest: more vectors than an engine takes")
	}
	e.d.mu.Lock()
	e.ops = append(e.ops, op)
	e.d.mu.Unlock()
}

// Pending returns how many operations wait.
func (e *Engine) Pending() int {
	e.d.mu.Lock()
	defer e.d.mu.Unlock()
	return len(e.ops)
}

// Step completes one operation, and returns its tag and result; false if none waits.
func (e *Engine) Step() (tag uint64, res int32, ok bool) {
	e.d.mu.Lock()
	if len(e.ops) == 0 {
		e.d.mu.Unlock()
		return 0, 0, false
	}
	i := e.d.rng.IntN(len(e.ops))
	op := e.ops[i]
	e.ops[i] = e.ops[len(e.ops)-1]
	e.ops = e.ops[:len(e.ops)-1]
	if !op.write && !op.sync {
		defer e.d.mu.Unlock()
		return op.tag, e.completeRead(op), true
	}
	e.d.mu.Unlock()
	if op.sync {
		return op.tag, e.completeSync(op), true
	}
	return op.tag, e.completeWrite(op), true
}

func (e *Engine) completeWrite(op engineOp) int32 {
	number, fail := e.d.begin()
	defer e.d.end(number)
	f := e.d.open[op.fd]
	if f == nil {
		return -int32(unix.EBADF)
	}
	p, err := gather(op.iov, f.direct)
	if err != nil {
		return result(0, err)
	}
	if keep := e.moved(len(p)); keep < len(p) {
		p = p[:keep]
	}
	return result(f.write(p, op.off, fail))
}

func (e *Engine) completeSync(op engineOp) int32 {
	number, fail := e.d.begin()
	defer e.d.end(number)
	f := e.d.open[op.fd]
	switch {
	case f == nil:
		return -int32(unix.EBADF)
	case fail != nil:
		f.ino.failSync(e.d.rng.Uint32)
	case e.d.rng.Uint32()%2 == 0:
		f.ino.sync()
	default:
		f.ino.syncUpTo(op.upTo)
	}
	return result(0, fail)
}

func (e *Engine) completeRead(op engineOp) int32 {
	f := e.d.open[op.fd]
	if f == nil {
		return -int32(unix.EBADF)
	}
	length := 0
	for _, v := range op.iov {
		if f.direct && !aligned(vector(v)) {
			return -int32(unix.EINVAL)
		}
		length += int(v.Len)
	}
	p := alignedBuffer(e.moved(length))
	n, err := f.read(p, op.off)
	p = p[:n]
	for _, v := range op.iov {
		p = p[copy(vector(v), p):]
	}
	return result(n, err)
}

// moved chooses how many of n bytes an operation moves.
func (e *Engine) moved(n int) int {
	if !e.Short || n <= sectorSize || e.d.rng.Uint32()%4 != 0 {
		return n
	}
	return (1 + e.d.rng.IntN((n-1)/sectorSize)) * sectorSize
}

// spill lets writes in flight reach a cut of the disk, in part or not at all.
func (e *Engine) spill(cut *Disk) {
	for _, op := range e.ops {
		f := e.d.open[op.fd]
		if f == nil || !op.write {
			continue
		}
		ino := cut.same(e.d, f.ino)
		p, err := gather(op.iov, f.direct)
		if ino == nil || err != nil {
			continue
		}
		choice := cut.rng.Uint32() % 3
		for i := 0; i < len(p); i += sectorSize {
			if choice == 0 || choice == 1 && cut.rng.Uint32()%2 == 0 {
				continue
			}
			to := &File{d: cut, ino: ino, direct: f.direct}
			_, _ = to.write(p[i:min(i+sectorSize, len(p))], op.off+int64(i), nil)
		}
	}
}

// gather copies what vectors point to.
func gather(iov []unix.Iovec, direct bool) ([]byte, error) {
	n := 0
	for _, v := range iov {
		if direct && !aligned(vector(v)) {
			return nil, unix.EINVAL
		}
		n += int(v.Len)
	}
	p := alignedBuffer(n)[:0]
	for _, v := range iov {
		p = append(p, vector(v)...)
	}
	return p, nil
}

// alignedBuffer returns memory that a file opened direct takes.
func alignedBuffer(n int) []byte {
	p := make([]byte, n+sectorSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(p))) % sectorSize
	return p[skip:][:n:n]
}

func vector(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }

func result(n int, err error) int32 {
	if err == nil {
		return int32(n)
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return -int32(errno)
	}
	return -int32(unix.EIO)
}
