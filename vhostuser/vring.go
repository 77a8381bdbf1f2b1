package vhostuser

import (
	"errors"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// ring is one queue as the control plane sees it: what the front end said of it and, between
// SET_VRING_KICK and GET_VRING_BASE, the started Queue with the goroutine that serves it.
//
// All fields above mu belong to the session's goroutine. A ring is served while it is started
// and enabled and nothing holds it; halt, wait and resume switch between serving and not.
type ring struct {
	index int
	dev   Device
	log   hclog.Logger
	count *counters

	// size, base and addr are what the next start begins with. Messages that change them
	// leave a started ring alone.
	size    uint32
	base    uint32
	addr    vringAddr
	enabled bool

	// call and err are kept from before the start and over a stop: front ends send them
	// with their init, long before the kick. A started queue has duplicates.
	call, err int

	q       *Queue
	logging logState  // what q was told of the dirty log
	region  *inflight // what q tracks its requests in, nil if nothing
	started bool      // at least once on this connection

	mu       sync.Mutex
	want     bool          // to be served
	serving  bool          // the goroutine exists
	stopping bool          // and has been asked to end
	broken   error         // why the ring is not served any more
	gone     chan struct{} // closed when the goroutine has ended
}

// logState is what a ring knows of dirty logging.
type logState struct {
	log  *dirtyLog
	used bool
	addr uint64
}

var errEndedEarly = errors.New("the device stopped serving the ring unasked")

// resume lets the ring be served, if it is started, enabled and whole. It does not wait: a
// goroutine that is about to stop turns round.
func (r *ring) resume() {
	if r.q == nil || !r.enabled {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return
	}
	r.want = true
	if r.serving {
		return
	}
	r.serving, r.stopping = true, false
	r.gone = make(chan struct{})
	r.q.rearmStop()
	go r.serve(r.q, r.gone)
}

// serve runs the device on the ring until nobody wants that any more.
func (r *ring) serve(q *Queue, gone chan struct{}) {
	defer close(gone)
	for r.next(q, r.dev.Run(q)) {
	}
}

// next judges the end of a Run and says whether to begin another.
func (r *ring) next(q *Queue, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && !r.stopping {
		err = errEndedEarly
	}
	if err != nil {
		r.broken = err
		r.count.ringErrors.Add(1)
		r.log.Error("ring is broken", "queue", r.index, "error", err)
		q.signalError()
	}
	if err != nil || !r.want {
		r.serving, r.stopping = false, false
		return false
	}
	r.stopping = false
	q.rearmStop()
	return true
}

// halt asks the goroutine to end and does not wait for it.
func (r *ring) halt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = false
	if r.serving && !r.stopping {
		r.stopping = true
		r.q.requestStop()
	}
}

// wait returns when the goroutine has ended: every request that the device took is finished
// and published, and nothing of this ring touches guest memory.
func (r *ring) wait() {
	r.mu.Lock()
	gone := r.gone
	r.mu.Unlock()
	if gone != nil {
		<-gone
	}
}

// breakDown gives a ring up whose memory is gone; it is not served again before a new start.
func (r *ring) breakDown(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = err
		r.count.ringErrors.Add(1)
		r.log.Error("ring is broken", "queue", r.index, "error", err)
		r.q.signalError()
	}
}
