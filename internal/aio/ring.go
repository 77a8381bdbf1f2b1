package aio

import (
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/uring"
)

const (
	// subBatch operations are handed to the kernel at a time while more are being queued, so that
	// the device works on the first ones already: whole batches of 32 measured 13-18 % slower.
	subBatch = 4

	minRingEntries = 64
	maxRingEntries = 1024

	// cancelTag is the tag of cancellations themselves; their results say nothing of use.
	cancelTag = ^uint64(0) &^ bio.LaneTag
)

// ringEngine is the engine on io_uring.
type ringEngine struct {
	ring    *uring.Ring
	fresh   int // prepared since the last submission
	backlog fifo[op]
	watches []ringWatch // armed ones, in no order
	counts  []byte      // where watches read counts to, all of them: nobody looks at it
	err     error       // why the ring is unusable
}

// ringWatch is an armed watch. The kernel waits inside the read, except where it does not do so
// for descriptors with O_NONBLOCK (before Linux 5.19 or so): the read fails with EAGAIN there,
// and is repeated after a poll.
type ringWatch struct {
	tag     uint64
	fd      int
	polling bool
	ending  bool
}

func newRingEngine(depth int) (Engine, error) {
	entries := uint32(min(max(depth, minRingEntries), maxRingEntries))
	ring, err := uring.New(entries, 4*entries)
	if err != nil {
		return nil, err
	}
	return &ringEngine{
		ring:    ring,
		backlog: newFifo[op](depth),
		watches: make([]ringWatch, 0, MaxWatches),
		counts:  make([]byte, 8),
	}, nil
}

func probeRing() error {
	r, err := uring.New(1, 2)
	if err != nil {
		return err
	}
	return r.Close()
}

func (e *ringEngine) Kind() Kind { return Uring }

func (e *ringEngine) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) {
	if e.backlog.len() == 0 && e.ring.Readv(fd, iov, off, tag) {
		e.prepared()
		return
	}
	e.backlog.push(op{code: opReadv, fd: fd, iov: iov, off: off, tag: tag})
}

func (e *ringEngine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	if e.backlog.len() == 0 && e.ring.Writev(fd, iov, off, tag) {
		e.prepared()
		return
	}
	e.backlog.push(op{code: opWritev, fd: fd, iov: iov, off: off, tag: tag})
}

func (e *ringEngine) Fdatasync(fd int, tag uint64) {
	e.queue(op{code: opFdatasync, fd: fd, tag: tag})
}

func (e *ringEngine) Watch(fd int, tag uint64) {
	e.watches = append(e.watches, ringWatch{tag: tag, fd: fd})
	e.queue(op{code: opWatch, fd: fd, tag: tag})
}

func (e *ringEngine) Unwatch(tag uint64) {
	if i := e.watch(tag); i >= 0 && !e.watches[i].ending {
		e.watches[i].ending = true
		e.queue(op{code: opCancel, tag: tag})
	}
}

// prepared hands the prepared operations over when there are enough of them. An error comes up
// again in Submit or Wait.
func (e *ringEngine) prepared() {
	if e.fresh++; e.fresh >= subBatch {
		e.flush()
	}
}

func (e *ringEngine) flush() {
	e.fresh = 0
	if err := e.ring.Submit(); err != nil && e.err == nil {
		e.err = err
	}
}

func (e *ringEngine) queue(o op) {
	if e.backlog.len() == 0 && e.prepare(&o) {
		e.prepared()
		return
	}
	e.backlog.push(o)
}

func (e *ringEngine) prepare(o *op) bool {
	switch o.code {
	case opReadv:
		return e.ring.Readv(o.fd, o.iov, o.off, o.tag)
	case opWritev:
		return e.ring.Writev(o.fd, o.iov, o.off, o.tag)
	case opFdatasync:
		return e.ring.Fdatasync(o.fd, o.tag)
	case opWatch:
		return e.ring.Read(o.fd, e.counts, o.tag)
	case opPoll:
		return e.ring.Poll(o.fd, o.tag)
	default:
		return e.ring.Cancel(o.tag, cancelTag)
	}
}

// refill prepares operations of the backlog, as many as there is room for.
func (e *ringEngine) refill() {
	for e.backlog.len() > 0 && e.prepare(e.backlog.front()) {
		e.backlog.drop(1)
		e.prepared()
	}
}

func (e *ringEngine) Submit() error {
	e.refill()
	if e.fresh > 0 {
		e.flush()
	}
	return e.err
}

func (e *ringEngine) Wait(out []Completion, block bool) (int, error) {
	for {
		if err := e.await(block); err != nil {
			return 0, err
		}
		n := e.ring.Reap(out)
		n = e.sift(out[:n])
		e.refill()
		if n > 0 || !block {
			return n, e.Submit()
		}
	}
}

// await makes results available: some at least when block is set.
func (e *ringEngine) await(block bool) error {
	if !block || e.err != nil {
		err := e.Submit()
		e.ring.Ready()
		return err
	}
	e.refill()
	if e.ring.Outstanding() == 0 {
		return ErrIdle
	}
	e.fresh = 0 // Wait submits
	e.err = e.ring.Wait()
	return e.err
}

// sift removes from cs what is not for the owner, and returns how many are left.
func (e *ringEngine) sift(cs []Completion) int {
	n := 0
	for _, c := range cs {
		if c.Tag&bio.LaneTag != 0 || e.finish(&c) {
			cs[n] = c
			n++
		}
	}
	return n
}

// finish reports whether c ends what it belongs to; a watch may need another round.
func (e *ringEngine) finish(c *Completion) bool {
	if c.Tag == cancelTag {
		return false
	}
	i := e.watch(c.Tag)
	if i < 0 {
		return true
	}
	w := &e.watches[i]
	again := c.Res == -int32(unix.EAGAIN) || w.polling && c.Res > 0
	if again && !w.ending {
		w.polling = !w.polling
		code := opWatch
		if w.polling {
			code = opPoll
		}
		e.queue(op{code: code, fd: w.fd, tag: w.tag})
		return false
	}
	if again {
		c.Res = -int32(unix.ECANCELED)
	}
	last := len(e.watches) - 1
	e.watches[i] = e.watches[last]
	e.watches = e.watches[:last]
	return true
}

// watch finds an armed watch, -1 if there is none.
func (e *ringEngine) watch(tag uint64) int {
	for i := range e.watches {
		if e.watches[i].tag == tag {
			return i
		}
	}
	return -1
}

func (e *ringEngine) Close() error {
	for i := len(e.watches) - 1; i >= 0; i-- {
		e.Unwatch(e.watches[i].tag)
	}
	var out [16]Completion
	for e.err == nil && e.ring.Outstanding() > 0 {
		if _, err := e.Wait(out[:], true); err != nil && e.ring.Outstanding() > 0 {
			return err
		}
	}
	return e.ring.Close()
}
