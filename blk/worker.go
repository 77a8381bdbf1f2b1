package blk

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/vhostuser"
)

// worker is the thread of one queue. It lives from the queue's first run to the end of the
// device, because its engine and its lane can only be used on the thread that made them, and
// rings are stopped and run again often.
type worker struct {
	dev   *Device
	index int
	counters

	mu      sync.Mutex // held during a run
	closed  bool
	rings   chan *vhostuser.Queue // nil while there is no thread; closing it ends the thread
	results chan error            // one for the thread's start, each ring and its end
}

// run serves q on the worker's thread.
func (w *worker) run(q *vhostuser.Queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if w.rings == nil {
		if err := w.start(); err != nil {
			return err
		}
	}
	w.rings <- q
	return <-w.results
}

func (w *worker) start() error {
	rings := make(chan *vhostuser.Queue)
	w.results = make(chan error)
	go w.main(rings)
	if err := <-w.results; err != nil {
		return fmt.Errorf("queue %d: %w", w.index, err)
	}
	w.rings = rings
	return nil
}

// main is the worker's thread. It stays locked to it, so the thread ends with the goroutine.
func (w *worker) main(rings <-chan *vhostuser.Queue) {
	runtime.LockOSThread()
	processors.add(1)
	defer processors.add(-1)
	shortenSlice()
	l, err := newLoop(w.dev, w.counters)
	w.results <- err
	if err != nil {
		return
	}
	for q := range rings {
		w.results <- l.run(q)
	}
	w.results <- l.close()
}

// close ends the thread.
func (w *worker) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.rings == nil {
		return nil
	}
	close(w.rings)
	return <-w.results
}

// newLoop makes what a worker's thread owns.
func newLoop(dev *Device, to counters) (*loop, error) {
	depth := dev.opts.Depth
	engine, err := aio.New(dev.opts.Engine, depth)
	if err != nil {
		return nil, err
	}
	lane, err := dev.store.NewLane(depth, engine)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	l := &loop{
		dev:    dev,
		engine: engine,
		lane:   lane,
		tally:  tally{to: to},
		limits: limits{
			readOnly:       dev.store.ReadOnly(),
			discardSectors: dev.opts.DiscardSectors,
			serial:         dev.serial,
		},
		requests: make([]request, depth),
		free:     make([]*request, depth),
		done:     make([]*bio.Request, 0, depth),
		records:  make([]probe.Request, 0, depth),
		events:   make([]aio.Completion, min(depth, maxEvents)),
	}
	for i := range l.requests {
		r := &l.requests[i]
		r.init(i)
		l.free[depth-1-i] = r
	}
	l.leave = l.mayLeave
	l.watch(lane.WakeFD(), tagWake)
	return l, nil
}

// close releases the lane and the engine, whose watch of the lane's eventfd has to end first.
func (l *loop) close() error {
	err := l.unwatch(tagWake)
	if l.broken != nil {
		err = nil // the engine's failure was reported when it happened
	}
	return errors.Join(err, l.lane.Close(), l.engine.Close())
}
