package aio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// rawLimit is the most bytes that are moved without telling the Go scheduler. Telling it costs
	// a tenth of a 4 KiB copy; not telling it delays a garbage collection by the length of the copy.
	rawLimit = 128 << 10

	// watchEvery is how many times in a row Wait may answer with completions alone before it looks
	// at the eventfds as well.
	watchEvery = 16
)

// inlineEngine moves data when it is asked to, and remembers the result.
type inlineEngine struct {
	watches *watches
	done    fifo[Completion]
	rounds  int // Waits since the eventfds were looked at
}

func newInlineEngine(depth int) Engine {
	return &inlineEngine{watches: newWatches(), done: newFifo[Completion](depth)}
}

func (e *inlineEngine) Kind() Kind { return Inline }

func (e *inlineEngine) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.done.push(Completion{Tag: tag, Res: transfer(unix.SYS_PREADV, fd, iov, off)})
}

func (e *inlineEngine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.done.push(Completion{Tag: tag, Res: transfer(unix.SYS_PWRITEV, fd, iov, off)})
}

func (e *inlineEngine) Fdatasync(fd int, tag uint64) {
	e.done.push(Completion{Tag: tag, Res: datasync(fd)})
}

func (e *inlineEngine) Watch(fd int, tag uint64) { e.watches.add(fd, tag) }

func (e *inlineEngine) Unwatch(tag uint64) {
	if e.watches.remove(tag) {
		e.done.push(Completion{Tag: tag, Res: -int32(unix.ECANCELED)})
	}
}

func (e *inlineEngine) Submit() error { return nil }

func (e *inlineEngine) Wait(out []Completion, block bool) (int, error) {
	n := e.done.take(out)
	if e.rounds++; n > 0 && e.rounds < watchEvery {
		return n, nil
	}
	e.rounds = 0
	if block && n == 0 && len(e.watches.fds) == 0 {
		return 0, ErrIdle
	}
	for {
		fired, err := e.watches.poll(out[n:], block && n == 0)
		n += fired
		if n > 0 || !block || err != nil {
			return n, err
		}
	}
}

func (e *inlineEngine) Close() error { return nil }

// transfer moves data on the spot. It calls preadv(2) or pwritev(2) by itself because those of
// x/sys allocate. The offset goes in two registers: low and, for 32-bit systems, high word.
func transfer(trap uintptr, fd int, iov []unix.Iovec, off int64) int32 {
	if long(iov) {
		return blocking(trap, fd, iov, off)
	}
	moved, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))),
		uintptr(len(iov)), uintptr(off), uintptr(off>>32), 0)
	return result(moved, errno)
}

// blocking does the same and lets the Go scheduler use the time.
func blocking(trap uintptr, fd int, iov []unix.Iovec, off int64) int32 {
	moved, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))),
		uintptr(len(iov)), uintptr(off), uintptr(off>>32), 0)
	return result(moved, errno)
}

// datasync makes a file's data durable, known to the Go scheduler.
func datasync(fd int) int32 {
	for {
		_, _, errno := unix.Syscall(unix.SYS_FDATASYNC, uintptr(fd), 0, 0)
		if errno != unix.EINTR {
			return result(0, errno)
		}
	}
}

func long(iov []unix.Iovec) bool {
	total := uint64(0)
	for i := range iov {
		if total += uint64(iov[i].Len); total > rawLimit {
			return true
		}
	}
	return false
}
