package vhostuser

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The eventfds of a queue: kick comes from the guest, call goes to it, err goes to the front
// end, stop is this process's own.

// requestStop makes StopFD readable and Stopping true. At any time.
func (q *Queue) requestStop() {
	q.stopping.Store(true)
	writeEvent(q.stop)
}

// rearmStop undoes requestStop before a new Run.
func (q *Queue) rearmStop() {
	q.stopping.Store(false)
	var buf [8]byte
	_, _ = unix.Read(q.stop, buf[:]) // EAGAIN: no stop was requested
}

// setKick takes ownership of fd, -1 for none; only while Run is not running.
func (q *Queue) setKick(fd int) {
	closeEvent(q.kick)
	q.kick = fd
}

// setCall takes ownership of fd, -1 for none, and writes it once: a completion whose
// notification was lost with a former backend is noticed then. At any time.
func (q *Queue) setCall(fd int) {
	q.mu.Lock()
	closeEvent(q.callFD)
	q.callFD, q.callWaits = fd, canWait(fd)
	q.mu.Unlock()
	q.notify()
}

// setErr takes ownership of fd, -1 for none. At any time.
func (q *Queue) setErr(fd int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	closeEvent(q.errFD)
	q.errFD = fd
}

// notify writes the call eventfd. The lock keeps a completion from going to a descriptor
// that was closed meanwhile and perhaps given out anew. Where the front end reads its eventfd
// without O_NONBLOCK, which is its choice and not changed here, each write is preceded by a look
// at whether it would wait.
func (q *Queue) notify() {
	q.mu.Lock()
	if q.callWaits {
		signalFD(q.callFD)
	} else {
		writeEvent(q.callFD)
	}
	q.mu.Unlock()
}

// signalError writes the error eventfd.
func (q *Queue) signalError() {
	q.mu.Lock()
	signalFD(q.errFD)
	q.mu.Unlock()
}

// close closes the descriptors: after Run returned.
func (q *Queue) close() {
	q.setKick(-1)
	q.mu.Lock()
	closeEvent(q.callFD)
	closeEvent(q.errFD)
	q.callFD, q.errFD = -1, -1
	q.mu.Unlock()
	closeEvent(q.stop)
	q.stop = -1
}

// one is what a writer adds to an eventfd.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// canWait reports whether a write to an eventfd would wait while its count is at its maximum,
// which a front end can set.
func canWait(fd int) bool {
	if fd < 0 {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err != nil || flags&unix.O_NONBLOCK == 0
}

// signalFD adds one to an eventfd unless that would wait.
func signalFD(fd int) {
	if fd < 0 {
		return
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p, 0); err != nil || n != 1 || p[0].Revents&unix.POLLOUT == 0 {
		return
	}
	writeEvent(fd)
}

// writeEvent adds one to an eventfd. Its only errors are EAGAIN, for one that is full, and those
// of a descriptor that is no eventfd: the front end's own loss.
func writeEvent(fd int) {
	if fd >= 0 {
		_, _ = unix.Write(fd, one)
	}
}

func closeEvent(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // an eventfd has nothing to flush
	}
}
