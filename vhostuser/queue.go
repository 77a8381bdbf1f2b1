package vhostuser

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Queue is one started ring as a device sees it. One goroutine, the device's Run, uses the
// exported methods; the others are the session's.
type Queue struct {
	ringConfig
	layout layout
	mem    atomic.Pointer[memTable] // growMemory may swap it under a running ring
	log    *dirtyLog                // changes only while Run does not run; so do fl and kick
	fl     *inflight
	kick   int
	stop   int // eventfd

	// Run's alone.
	again []resubmission // chains to hand out before those of the ring, oldest first
	done  []usedElem     // completed, not yet published; as many as the ring has places
	sick  error          // why the ring is broken; for good
	calls uint64         // notifications by Publish

	stopping  atomic.Bool
	published atomic.Uint64

	mu        sync.Mutex // the session may replace these while Run writes to them
	callFD    int
	callWaits bool // a write to callFD may wait
	errFD     int
}

// newQueue checks the ring's addresses and recovers what a backend that died left in fl.
// mem, log and fl may be nil and stay the session's.
func newQueue(c ringConfig, mem *memTable, log *dirtyLog, fl *inflight) (q *Queue, err error) {
	piece, err := fl.trackOf(c)
	if err != nil {
		return nil, err
	}
	q = &Queue{ringConfig: c, log: log, fl: fl, kick: -1, stop: -1, callFD: -1, errFD: -1}
	if q.layout, err = newLayout(c, fl, piece); err != nil {
		return nil, err
	}
	if err := q.setMemory(mem); err != nil {
		return nil, err
	}
	q.setLog(log, c.logUsed, c.logGuestAddr)
	if err := q.start(); err != nil {
		return nil, err
	}
	q.done = make([]usedElem, 0, c.size)
	if q.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("queue %d: stop eventfd: %w", c.index, err)
	}
	return q, nil
}

func newLayout(c ringConfig, fl *inflight, piece []byte) (layout, error) {
	entries := 0
	if fl != nil {
		entries = fl.queueSize
	}
	if c.packed {
		return newPacked(c, newPackedTrack(piece, entries))
	}
	return newSplit(c, newSplitTrack(piece, entries))
}

func (q *Queue) start() (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	q.again, err = q.layout.start()
	return err
}

// Index is the ring's number in its device.
func (q *Queue) Index() int { return q.index }

// Size is the number of descriptors of the ring: no more chains are in flight at once.
func (q *Queue) Size() int { return int(q.size) }

// KickFD is the eventfd to wait for after Arm returned false; -1 if the guest is to be polled.
func (q *Queue) KickFD() int { return q.kick }

// StopFD is an eventfd that is readable when Run shall end. Run does not read it.
func (q *Queue) StopFD() int { return q.stop }

// Stopping says the same without a system call.
func (q *Queue) Stopping() bool { return q.stopping.Load() }

// Resubmitted is the number of chains, of those that Next has yet to hand out, that a backend took
// before and did not complete.
func (q *Queue) Resubmitted() int { return len(q.again) }

// Notifications is how often Publish has notified the guest.
func (q *Queue) Notifications() uint64 { return q.calls }

// Next fills c with the next chain and reports whether there was one: first those that a
// backend took and did not complete before it died, in the order it took them, then the
// guest's. A malformed chain is a *ChainError; it is taken all the same, and to be completed
// with nothing written. Any other error means that the ring is broken.
func (q *Queue) Next(c *Chain) (ok bool, err error) {
	if q.sick != nil {
		return false, q.sick
	}
	ok, err = q.next(c)
	if err != nil && !c.taken {
		return false, q.sicken(err)
	}
	return ok, err
}

func (q *Queue) next(c *Chain) (ok bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	if len(q.again) > 0 {
		c.reset(q.mem.Load())
		r := q.again[0]
		q.again = q.again[1:]
		return true, q.layout.retake(c, r)
	}
	if !q.layout.available() {
		return false, nil
	}
	// In this order: a chain may point into memory that was added just before it was made available.
	c.reset(q.mem.Load())
	return q.layout.take(c)
}

// Empty reports whether the ring has no chain to take, as far as one look tells.
func (q *Queue) Empty() bool {
	if q.sick != nil || len(q.again) > 0 {
		return false
	}
	empty, err := q.empty()
	return empty && err == nil // Next will find the error, too
}

func (q *Queue) empty() (empty bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	return !q.layout.available(), nil
}

// Complete gives a chain back with the number of bytes written to its writable part, and
// marks those pages dirty. The guest sees it after the next Publish. The order of completion
// is free.
func (q *Queue) Complete(c *Chain, written uint32) {
	if !c.taken || len(q.done) == cap(q.done) {
		_ = q.sicken(q.fail("chain", uint64(c.Head), ErrNotTaken))
		return
	}
	c.taken = false
	if q.log != nil {
		if err := q.markWritable(c); err != nil {
			_ = q.sicken(err)
		}
	}
	q.done = append(q.done, usedElem{id: c.Head, slots: c.slots, entry: c.entry, len: written})
}

func (q *Queue) markWritable(c *Chain) (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	c.markWritable(q.log)
	return nil
}

// Unpublished is the number of chains that were completed and not published.
func (q *Queue) Unpublished() int { return len(q.done) }

// settled says that the inflight region has nothing to say: no chain is completed and not published, or
// still to be resubmitted.
func (q *Queue) settled() bool { return len(q.done)+len(q.again) == 0 }

// Kept says that chains which are not published when Run ends are not lost: who takes the ring up next,
// in this process or another, finds them in the inflight region and has them done again. Without that
// Run must publish all.
func (q *Queue) Kept() bool { return q.fl != nil }

// Publish shows the guest everything completed since the last time, in one step, and
// notifies it if it asked for that.
func (q *Queue) Publish() error {
	if q.sick != nil || len(q.done) == 0 {
		return q.sick
	}
	call, err := q.publish()
	q.published.Add(uint64(len(q.done)))
	q.done = q.done[:0]
	if err != nil {
		return q.sicken(err)
	}
	if call {
		q.notify()
		q.calls++
	}
	return nil
}

func (q *Queue) publish() (call bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	if err := q.layout.prepare(q.done); err != nil {
		return false, err
	}
	q.layout.fill(q.done)
	q.layout.commit(q.done)
	q.layout.settle(q.done)
	return q.layout.wantsCall(q.done), nil
}

// Arm asks the guest for a kick with its next chain. It reports true if there is one already:
// then do not sleep.
func (q *Queue) Arm() (more bool, err error) {
	if q.sick != nil {
		return false, q.sick
	}
	more, err = q.arm()
	if err != nil {
		return false, q.sicken(err)
	}
	return more, nil
}

func (q *Queue) arm() (more bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	return q.layout.arm() || len(q.again) > 0, nil
}

// Disarm asks the guest for no kicks, while the device is busy or polls.
func (q *Queue) Disarm() {
	if q.sick != nil {
		return
	}
	if err := q.disarm(); err != nil {
		_ = q.sicken(err)
	}
}

func (q *Queue) disarm() (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	q.layout.disarm()
	return nil
}

// sicken breaks the ring for good and returns why: the first reason wins. A fault left the
// ring's state half changed, and other errors are damage that only a new start repairs.
func (q *Queue) sicken(err error) error {
	if q.sick == nil {
		if fault, ok := err.(*FaultError); ok {
			err = q.fail("memory at", uint64(fault.Address), fault)
		}
		q.sick = err
	}
	return q.sick
}

// owns reports whether an access at addr may fault through no fault of ours.
func (q *Queue) owns(addr uintptr) bool {
	return q.mem.Load().owns(addr) || q.fl.owns(addr) || q.log.owns(addr)
}

// base is the GET_VRING_BASE value, valid after Run returned.
func (q *Queue) base() uint32 { return q.layout.position() }

// completed is the number of chains published so far. At any time.
func (q *Queue) completed() uint64 { return q.published.Load() }

// setMemory moves a queue that does not run to another table.
func (q *Queue) setMemory(t *memTable) error {
	if err := q.layout.place(t); err != nil {
		return err
	}
	q.mem.Store(t)
	return nil
}

// growMemory gives a queue, running or not, a table that keeps the mappings of its own.
func (q *Queue) growMemory(t *memTable) { q.mem.Store(t) }

// setLog switches the dirty log of a queue that does not run. logUsed asks for the ring's
// own pages too, the used ring's (packed: the device event area's) being at addr.
func (q *Queue) setLog(l *dirtyLog, logUsed bool, addr uint64) {
	q.log = l
	if !logUsed {
		l = nil
	}
	q.layout.setLog(writeLog{log: l, addr: addr})
}
