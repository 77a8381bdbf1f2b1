package aio

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// poolSize is the number of operations that a poolEngine has in progress at a time.
const poolSize = 8

// poolEngine moves data on a few threads: goroutines that block in preadv, pwritev and
// fdatasync.
type poolEngine struct {
	// The owner's thread only:
	watches *watches // the first is event
	batch   []op     // queued since the last Submit
	flying  int      // submitted, completion not taken yet
	rounds  int      // Waits since the eventfds were looked at

	// Everybody, under mu:
	mu     sync.Mutex
	work   sync.Cond // signalled when jobs were added or closing was set
	jobs   fifo[op]
	done   fifo[Completion]
	asleep bool // the owner sleeps until event is written
	closed bool

	event   int // eventfd that wakes the owner
	workers sync.WaitGroup
}

// eventTag marks the engine's own eventfd; cancelTag is never given to a watch, by contract.
const eventTag = cancelTag

func newPoolEngine(depth int) (Engine, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	e := &poolEngine{
		watches: newWatches(),
		batch:   make([]op, 0, depth),
		jobs:    newFifo[op](depth),
		done:    newFifo[Completion](depth),
		event:   fd,
	}
	e.work.L = &e.mu
	e.watches.add(fd, eventTag)
	for range poolSize {
		e.workers.Go(e.run)
	}
	return e, nil
}

func (e *poolEngine) Kind() Kind { return Threads }

func (e *poolEngine) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.batch = append(e.batch, op{code: opReadv, fd: fd, iov: iov, off: off, tag: tag})
}

func (e *poolEngine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.batch = append(e.batch, op{code: opWritev, fd: fd, iov: iov, off: off, tag: tag})
}

func (e *poolEngine) Fdatasync(fd int, tag uint64) {
	e.batch = append(e.batch, op{code: opFdatasync, fd: fd, tag: tag})
}

func (e *poolEngine) Watch(fd int, tag uint64) { e.watches.add(fd, tag) }

func (e *poolEngine) Unwatch(tag uint64) {
	if !e.watches.remove(tag) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flying++
	e.done.push(Completion{Tag: tag, Res: -int32(unix.ECANCELED)})
}

func (e *poolEngine) Submit() error {
	if len(e.batch) == 0 {
		return nil
	}
	e.flying += len(e.batch)
	e.mu.Lock()
	for i := range e.batch {
		e.jobs.push(e.batch[i])
		e.work.Signal()
	}
	e.mu.Unlock()
	clear(e.batch)
	e.batch = e.batch[:0]
	return nil
}

func (e *poolEngine) Wait(out []Completion, block bool) (int, error) {
	if err := e.Submit(); err != nil {
		return 0, err
	}
	if block && e.flying == 0 && len(e.watches.fds) == 1 {
		return 0, ErrIdle
	}
	for {
		n := e.take(out, block)
		if e.rounds++; n > 0 && e.rounds < watchEvery {
			return n, nil
		}
		e.rounds = 0
		fired, err := e.watches.poll(out[n:], block && n == 0)
		n += e.rearm(out[n : n+fired])
		if n > 0 || !block || err != nil {
			return n, err
		}
	}
}

// take moves completions to out. When there is none and the owner is going to sleep, the next
// one will write the eventfd.
func (e *poolEngine) take(out []Completion, sleep bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.done.take(out)
	e.flying -= n
	e.asleep = sleep && n == 0
	return n
}

// rearm removes the engine's own eventfd from what fired and watches it again.
func (e *poolEngine) rearm(fired []Completion) int {
	n := 0
	for _, c := range fired {
		if c.Tag == eventTag {
			e.watches.add(e.event, eventTag)
			continue
		}
		fired[n] = c
		n++
	}
	return n
}

func (e *poolEngine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.work.Broadcast()
	e.mu.Unlock()
	e.workers.Wait()
	return unix.Close(e.event)
}

// run is a worker: it does jobs until the engine is closed and none is left.
func (e *poolEngine) run() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for e.jobs.len() == 0 && !e.closed {
			e.work.Wait()
		}
		if e.jobs.len() == 0 {
			return
		}
		o := *e.jobs.front()
		e.jobs.drop(1)
		e.mu.Unlock()
		res := o.run()
		e.mu.Lock()
		e.done.push(Completion{Tag: o.tag, Res: res})
		if e.asleep {
			e.asleep = false
			e.wake()
		}
	}
}

var oneCount = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// wake writes the eventfd. It cannot fail: its count is read long before it overflows.
func (e *poolEngine) wake() { _, _ = unix.Write(e.event, oneCount) }

// run moves the data and blocks meanwhile, known to the Go scheduler.
func (o *op) run() int32 {
	switch o.code {
	case opReadv:
		return blocking(unix.SYS_PREADV, o.fd, o.iov, o.off)
	case opFdatasync:
		return datasync(o.fd)
	}
	return blocking(unix.SYS_PWRITEV, o.fd, o.iov, o.off)
}
