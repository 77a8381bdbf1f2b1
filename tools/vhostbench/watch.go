package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What becomes of a back end in the middle of a run.
var (
	errHungUp = errors.New("the back end hung up")
	errBroken = errors.New("the back end says that a ring is broken")
)

// watcher notices that the back end died or gave a ring up: the load threads, which look at
// memory only, would wait for ever.
type watcher struct {
	job    *job
	socket int // a duplicate, so that it is ours to close
	stop   int // eventfd
	ended  chan struct{}
}

func (j *job) watch() (*watcher, error) {
	w := &watcher{job: j, socket: -1, ended: make(chan struct{})}
	raw, err := j.front.Conn().SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch the back end: %w", err)
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) { w.socket, dupErr = unix.Dup(int(fd)) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("watch the back end: %w", err)
	}
	if w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(w.socket)
		return nil, fmt.Errorf("watch the back end: %w", err)
	}
	go w.main()
	return w, nil
}

// main looks until it is stopped or has seen something. Nothing but a hang-up can be read from
// the socket meanwhile: the front end asks nothing during a run.
func (w *watcher) main() {
	defer close(w.ended)
	fds := []unix.PollFd{{Fd: int32(w.stop), Events: unix.POLLIN}, {Fd: int32(w.socket), Events: unix.POLLIN}}
	for _, worker := range w.job.workers {
		fds = append(fds, unix.PollFd{Fd: int32(worker.ring.ErrFD()), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			w.job.stop(fmt.Errorf("watch the back end: %w", err))
		case fds[0].Revents != 0:
		case fds[1].Revents != 0:
			w.job.stop(errHungUp)
		default:
			w.job.stop(errBroken)
		}
		return
	}
}

// close ends the watch.
func (w *watcher) close() {
	one := [8]byte{1}
	_, _ = unix.Write(w.stop, one[:]) // an eventfd with room for it
	<-w.ended
	_ = unix.Close(w.stop)
	_ = unix.Close(w.socket)
}
