package aio

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/park"
)

// watches are the watched eventfds of an engine that waits with poll(2). Its owner's thread alone
// uses it.
type watches struct {
	fds    []unix.PollFd
	tags   []uint64
	count  [8]byte
	vector unix.Iovec // of count
	plain  bool       // preadv2 without waiting is not known for such files
}

func newWatches() *watches {
	w := &watches{fds: make([]unix.PollFd, 0, MaxWatches+1), tags: make([]uint64, 0, MaxWatches+1)}
	w.vector.Base = &w.count[0]
	w.vector.SetLen(len(w.count))
	return w
}

func (w *watches) add(fd int, tag uint64) {
	w.fds = append(w.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	w.tags = append(w.tags, tag)
}

// remove reports whether a watch with that tag was armed.
func (w *watches) remove(tag uint64) bool {
	for i := range w.tags {
		if w.tags[i] == tag {
			w.removeAt(i)
			return true
		}
	}
	return false
}

func (w *watches) removeAt(i int) {
	last := len(w.tags) - 1
	w.fds[i], w.tags[i] = w.fds[last], w.tags[last]
	w.fds, w.tags = w.fds[:last], w.tags[:last]
}

// poll takes the watches that fired; with block set it waits until one might have.
func (w *watches) poll(out []Completion, block bool) (int, error) {
	if len(w.fds) == 0 || len(out) == 0 {
		return 0, nil
	}
	if !w.ready(block) {
		return 0, nil
	}
	n := 0
	for i := len(w.fds) - 1; i >= 0 && n < len(out); i-- {
		if w.fds[i].Revents == 0 {
			continue
		}
		res := w.read(int(w.fds[i].Fd))
		if res == -int32(unix.EAGAIN) || res == -int32(unix.EINTR) {
			continue
		}
		out[n] = Completion{Tag: w.tags[i], Res: res}
		n++
		w.removeAt(i)
	}
	return n, nil
}

// ready reports whether poll(2) named a descriptor. A signal ends the wait; the caller asks again.
func (w *watches) ready(block bool) bool {
	var n uintptr
	var errno unix.Errno
	p, count := uintptr(unsafe.Pointer(&w.fds[0])), uintptr(len(w.fds))
	if block {
		n, errno = park.Syscall6(unix.SYS_PPOLL, p, count, 0, 0, 0, 0)
	} else {
		n, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, p, count, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	}
	return errno == 0 && n > 0
}

// now is a timeout that has passed.
var now unix.Timespec

// read takes an eventfd's count without waiting: somebody else may have taken it since poll(2)
// saw it, and the descriptor need not have O_NONBLOCK set.
func (w *watches) read(fd int) int32 {
	if !w.plain {
		const here = ^uintptr(0) // offset -1: a stream
		n, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(fd),
			uintptr(unsafe.Pointer(&w.vector)), 1, here, here, unix.RWF_NOWAIT)
		if errno != unix.EOPNOTSUPP && errno != unix.ENOSYS {
			return result(n, errno)
		}
		w.plain = true
	}
	return result(rawRead(fd, w.count[:]))
}

func rawRead(fd int, p []byte) (uintptr, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return n, errno
}

func result(n uintptr, errno unix.Errno) int32 {
	if errno != 0 {
		return -int32(errno)
	}
	return int32(n)
}
