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
func (q *Queue) setCall(fd int) { q.replace(&q.callFD, fd); q.notify() }

// setErr takes ownership of fd, -1 for none. At any time.
func (q *Queue) setErr(fd int) { q.replace(&q.errFD, fd) }

func (q *Queue) replace(place *int, fd int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	closeEvent(*place)
	*place = fd
}

// notify writes the call eventfd. The lock keeps a completion from going to a descriptor
// that was closed meanwhile and perhaps given out anew.
func (q *Queue) notify() {
	q.mu.Lock()
	writeEvent(q.callFD)
	q.mu.Unlock()
}

// signalError writes the error eventfd.
func (q *Queue) signalError() {
	q.mu.Lock()
	writeEvent(q.errFD)
	q.mu.Unlock()
}

// close closes the descriptors: after Run returned.
func (q *Queue) close() {
	q.setKick(-1)
	q.replace(&q.callFD, -1)
	q.replace(&q.errFD, -1)
	closeEvent(q.stop)
	q.stop = -1
}

// one is what a writer adds to an eventfd.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// writeEvent adds one to an eventfd. Its only errors are EAGAIN, for one that nobody read
// 2^64-2 times, and those of a descriptor that is no eventfd: the front end's own loss.
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
