package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

const sectorSize = vhosttest.SectorSize

// spinsPerLook is how often a polling worker looks at the ring between two looks at the clock.
const spinsPerLook = 1 << 12

// patience is how long a back end may be silent.
const patience = 30 * time.Second

// eventSlice bounds a sleep, so that a sleeping worker notices the end of the job.
const eventSlice = 100 * time.Millisecond

// worker loads one queue. One thread uses it.
type worker struct {
	job   *job
	queue int
	disk  *vhosttest.Disk
	ring  *vhosttest.Driver
	at    offsets
	done  []*vhosttest.Req // reused

	bs         int
	tail       int // of the last request of the range, bs as a rule
	poll       bool
	reads      uint64 // of 2^32, chance that a request is one
	flushEvery int
	unflushed  int          // writes since the last flush
	left       int64        // requests to be sent; endless if negative
	share      int64        // what left began with, 0 if it has no end
	sent       atomic.Int64 // of the share, for who shows the progress

	phase    phase
	now      int64 // when the last completions were seen
	edge     int64 // when the phase ends
	heard    int64 // when there were completions last
	counted  tally
	from, to sample
	failure  error // of the first request that failed
	sum      *verifier
	sure     *surely // nil: not asked for
}

// phase is what the worker is about.
type phase int

const (
	ramping phase = iota
	counting
	over
)

// sample is what the clocks said at the beginning or the end of the counting.
type sample struct {
	at      int64
	thread  int64
	backend spent
}

// run is the worker's thread, which ends with it, as it may be pinned.
func (w *worker) run() error {
	runtime.LockOSThread()
	if cpus := w.job.o.cpus; len(cpus) > 0 {
		if err := pin(cpus[w.queue%len(cpus)]); err != nil {
			return err
		}
	}
	w.ring.SuppressCalls(w.poll)
	w.now = w.job.clock()
	w.heard, w.edge = w.now, w.now+int64(w.job.o.ramp)
	for {
		if err := w.turn(); err != nil {
			return err
		}
		if err := w.submit(); err != nil {
			return err
		}
		if w.disk.InFlight() == 0 {
			return w.end()
		}
		if err := w.reap(); err != nil {
			return err
		}
	}
}

// turn goes to the next phase when it is time.
func (w *worker) turn() error {
	if w.phase != over && w.job.stopped.Load() {
		return w.end()
	}
	if w.now < w.edge {
		return nil
	}
	switch w.phase {
	case ramping:
		w.phase, w.edge = counting, w.now+int64(w.job.o.duration)
		if w.job.o.requests > 0 || w.job.o.fill {
			w.edge = 1<<63 - 1
		}
		w.counted.reset()
		return w.sample(&w.from)
	case counting:
		return w.end()
	}
	return nil
}

// end closes the counting. What is in flight is waited for and not counted.
func (w *worker) end() error {
	if w.phase == over {
		return nil
	}
	w.phase, w.edge, w.left = over, 1<<63-1, 0
	return w.sample(&w.to)
}

// sample reads the clocks. The back end's is read by the first queue only.
func (w *worker) sample(s *sample) (err error) {
	s.at = w.now
	if w.queue == 0 {
		if s.backend, err = w.job.backend.spent(); err != nil {
			return err
		}
	}
	s.thread, err = threadSpent()
	return err
}

// submit fills the ring and kicks the device.
func (w *worker) submit() error {
	n := 0
	for ; w.left != 0; n++ {
		r := w.disk.Get()
		if r == nil {
			break
		}
		if !w.prepare(r) {
			w.disk.Put(r) // each place is in flight already
			break
		}
		r.User = uint64(w.now)
		if err := w.disk.Submit(r); err != nil {
			return err
		}
		w.sure.sent(r)
	}
	if n > 0 {
		w.disk.Kick()
		w.sure.kicked(w.job)
		w.counted.busy += w.job.clock() - w.now
	}
	if w.share > 0 {
		w.sent.Store(w.share - w.left)
	}
	return nil
}

// prepare says what a request is to do; false if there is nothing that could be done now.
func (w *worker) prepare(r *vhosttest.Req) bool {
	if w.flushEvery > 0 && w.unflushed >= w.flushEvery {
		w.unflushed = 0
		r.Op, r.Sector, r.Len = vhosttest.OpFlush, 0, 0
		return true
	}
	r.Op = vhosttest.OpWrite
	if w.reads > 0 && w.at.below(1<<32) < w.reads {
		r.Op = vhosttest.OpRead
	}
	block := w.at.take()
	if w.sum != nil {
		var ok bool
		if block, ok = w.sum.begin(block, r); !ok {
			return false
		}
	}
	if r.Op == vhosttest.OpWrite {
		w.unflushed++
	}
	r.Sector, r.Len = block*uint64(w.bs/sectorSize), w.bs
	if block == w.job.blocks-1 {
		r.Len = w.tail
	}
	w.left--
	return true
}

// reap waits for completions, reads the clock once and takes them all.
func (w *worker) reap() (err error) {
	if err := w.await(); err != nil {
		return err
	}
	w.now = w.job.clock()
	if w.done, err = w.disk.Reap(w.done[:0]); err != nil {
		return err
	}
	if len(w.done) > 0 {
		w.heard = w.now
	}
	defer w.sure.drained(w.now)
	for _, r := range w.done {
		if err := w.finish(r); err != nil {
			return err
		}
		w.disk.Put(r)
	}
	return nil
}

// await returns when there are completions, or after a while when there are none.
func (w *worker) await() error {
	if w.poll {
		for range spinsPerLook {
			at := w.sure.clock(w.job)
			if w.ring.Pending() {
				return nil
			}
			w.sure.drained(at)
		}
	} else if ready, err := w.ring.Wait(eventSlice); ready || err != nil {
		return err
	}
	if err := w.job.lost(); err != nil {
		return err
	}
	if silent := time.Duration(w.job.clock() - w.heard); silent > patience {
		return fmt.Errorf("queue %d: the back end completed nothing in %v, %d requests in flight",
			w.queue, silent.Round(time.Second), w.disk.InFlight())
	}
	return nil
}

// finish counts a request that was completed.
func (w *worker) finish(r *vhosttest.Req) error {
	if w.sum != nil {
		if err := w.sum.end(r); err != nil {
			return err
		}
	}
	if r.Status != vhosttest.StatusOK {
		w.failed(r)
	}
	if w.phase == over {
		return nil
	}
	took := w.now - int64(r.User)
	if r.Op == vhosttest.OpFlush {
		record(w.counted.flush, took)
		return nil
	}
	w.counted.requests++
	w.counted.bytes += int64(r.Len)
	if r.Op == vhosttest.OpRead {
		w.counted.reads++
	}
	record(w.counted.latency, took)
	w.sure.count(&w.counted, r)
	return nil
}

func (w *worker) failed(r *vhosttest.Req) {
	w.counted.errors++
	if w.failure == nil {
		w.failure = r.Err()
	}
}
