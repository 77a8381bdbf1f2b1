package blk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/vhostuser"
)

// The tags of what a worker watches. Those of its lane have bio.LaneTag set.
const (
	tagStop = uint64(1) << iota
	tagKick
	tagWake
)

// maxEvents is the most completions that are taken from the engine at a time. A device that ends
// all its requests at once starves until the first of the next reach it: better to pass on a few
// completions quickly than all of them later.
const maxEvents = 8

// loop is what a worker's thread owns and does. Nobody else touches it, but for stats.
type loop struct {
	dev    *Device
	engine aio.Engine
	lane   bio.Lane
	tally  tally
	limits limits
	broken error // the engine failed; nothing can be served any more

	requests []request
	free     []*request // a stack
	done     []*bio.Request
	events   []aio.Completion
	watching uint64 // tags that are watched

	records []probe.Request // of what was finished and is not published
	times   times

	// Of the ring that is being served:
	q         *vhostuser.Queue
	ringErr   error // why it cannot be served any further
	pace      pacer // wakes the worker of a ring without kicks
	kicks     bool  // the guest was asked for kicks
	drained   bool  // the last look at the ring found it empty
	completed bool  // there is something to publish

	leave func() bool // mayLeave

	spin  spinner // for requests
	await spinner // for the device, with few requests in flight
	never spinner
}

// run serves a ring until it is stopped or broken, and then finishes what it took.
func (l *loop) run(q *vhostuser.Queue) error {
	if l.broken != nil {
		return l.broken
	}
	l.q, l.ringErr, l.kicks, l.completed = q, nil, false, q.Unpublished() > 0
	l.records = l.records[:0]
	l.beginRing()
	l.spin = spinner{limit: l.dev.opts.Spin}
	l.await = spinner{limit: l.dev.opts.SpinDevice}
	defer l.pace.close()
	l.watch(q.StopFD(), tagStop)
	l.dev.pauses.serving(l, true)
	err := l.serve()
	l.dev.pauses.serving(l, false)
	if err == nil {
		err = l.unwatch(tagStop | tagKick)
	}
	l.q = nil
	if err != nil {
		l.broken = fmt.Errorf("queue %d: I/O engine: %w", q.Index(), err)
		return l.broken
	}
	return l.ringErr
}

// serve makes rounds. Its error is the engine's.
func (l *loop) serve() error {
	for idle := false; ; {
		took := l.take()
		inFlight := l.lane.InFlight()
		if l.ended() && inFlight == 0 {
			l.publish()
			if l.over() {
				return nil
			}
			if err := l.rest(); err != nil {
				return err
			}
			continue
		}
		idle = took == 0 && (idle || inFlight == 0) && !l.completed // what was kept back goes to the fence first
		n, err := l.wait(idle, took > 0)
		if err != nil {
			return err
		}
		settled := l.settle()
		l.publish()
		if idle = took+n+settled == 0; !idle {
			l.spin.busy()
			l.await.busy()
		}
	}
}

// ended reports whether no more chains are to be taken: for good, or for now.
func (l *loop) ended() bool { return l.over() || l.dev.pauses.on.Load() }

// over reports whether the ring is not to be served any further.
func (l *loop) over() bool { return l.ringErr != nil || l.q.Stopping() }

// take starts the chains that wait in the ring, as many as there is room for, as one batch. It
// returns how many it found.
func (l *loop) take() int {
	n, asked, before := 0, false, l.times.now
	for l.drained = false; n < l.q.Size() && len(l.free) > 0 && !l.ended(); n++ {
		r := l.free[len(l.free)-1]
		ok, err := l.q.Next(&r.chain)
		if !ok && err == nil {
			l.drained = true
			break
		}
		if n == 0 {
			l.beginBatch()
		}
		if err != nil {
			l.refuse(r, err)
			continue
		}
		l.free = l.free[:len(l.free)-1]
		asked = l.begin(r) || asked
	}
	l.times.took(n, before, l.drained, l.q.Size()-len(l.requests))
	if asked {
		l.lane.Dispatch()
	}
	return n
}

// beginBatch looks once at what every request of the batch needs to know.
func (l *loop) beginBatch() {
	l.clock()
	l.limits.sectors = uint64(l.dev.store.Size()) / bio.SectorSize
	if l.kicks {
		l.q.Disarm()
		l.kicks = false
	}
}

// refuse gives a malformed chain back; any other error ends the ring.
func (l *loop) refuse(r *request, err error) {
	var malformed *vhostuser.ChainError
	if !errors.As(err, &malformed) {
		l.ringErr = err
		return
	}
	l.q.Complete(&r.chain, 0)
	l.completed = true
	l.tally.malformed()
}

// begin parses a request and reports whether it went to the store.
func (l *loop) begin(r *request) bool {
	r.looked, r.taken = l.times.looked, l.times.now
	if r.parse(&l.limits) {
		l.lane.Submit(&r.io)
		return true
	}
	l.finish(r)
	return false
}

// wait takes what the engine has, and sleeps until there is something if the worker is idle. It
// returns how many things happened.
func (l *loop) wait(idle, took bool) (int, error) {
	block := idle && l.sleepy()
	if idle && !block {
		yield()
	}
	if !block && !took && l.lane.InFlight() == 0 {
		return 0, nil
	}
	n, err := l.engine.Wait(l.events, block)
	if err != nil {
		return 0, err
	}
	if block {
		l.waiting().woke(l.clock())
		l.slept()
	}
	for _, c := range l.events[:n] {
		l.handle(c)
	}
	return n, nil
}

// sleepy reports whether there is nothing to do but to sleep. It asks for kicks first if chains
// can be taken at all; if not, the end of a request or of a stop will wake the worker.
func (l *loop) sleepy() bool {
	if l.waiting().on(l.clock) {
		return false
	}
	if !l.drained || l.ended() {
		return true
	}
	if err := l.watchKick(); err != nil {
		l.ringErr = err
		return false
	}
	more, err := l.q.Arm()
	if err != nil {
		l.ringErr = err
		return false
	}
	l.kicks = true
	return !more
}

// waiting is the spinner for what the worker waits for. With many requests in flight a wake-up is
// shared by many, and spinning for the first of them would cost more than it saves.
func (l *loop) waiting() *spinner {
	const few = 8
	switch n := l.lane.InFlight(); {
	case n == 0:
		return &l.spin
	case n <= few:
		return &l.await
	default:
		return &l.never
	}
}

// watchKick watches the kick eventfd, or a timer where the front end gave none.
func (l *loop) watchKick() error {
	if l.watching&tagKick != 0 {
		return nil
	}
	fd := l.q.KickFD()
	if fd < 0 {
		var err error
		if fd, err = l.pace.open(); err != nil {
			return err
		}
	}
	l.watch(fd, tagKick)
	return nil
}

func (l *loop) watch(fd int, tag uint64) {
	l.engine.Watch(fd, tag)
	l.watching |= tag
}

// unwatch ends the watches with those tags.
func (l *loop) unwatch(tags uint64) error {
	for tag := tagStop; tag <= tagWake; tag <<= 1 {
		if l.watching&tags&tag != 0 {
			l.engine.Unwatch(tag)
		}
	}
	for l.watching&tags != 0 {
		n, err := l.engine.Wait(l.events, true)
		if err != nil {
			return err
		}
		for _, c := range l.events[:n] {
			if c.Tag&tags != 0 && c.Tag&bio.LaneTag == 0 {
				l.watching &^= c.Tag
			} else {
				l.handle(c)
			}
		}
	}
	return nil
}

// handle passes an event on to whom it concerns.
func (l *loop) handle(c aio.Completion) {
	if c.Tag&bio.LaneTag != 0 {
		l.lane.Complete(c.Tag, c.Res)
		return
	}
	l.watching &^= c.Tag
	switch c.Tag {
	case tagWake:
		l.lane.Wake()
		l.watch(l.lane.WakeFD(), tagWake)
	case tagKick:
		// Anything but a count means that the front end gave a descriptor that is no eventfd.
		// Watching it again could spin for ever.
		if c.Res != 8 && c.Res != -int32(unix.EINTR) && c.Res != -int32(unix.EAGAIN) {
			l.ringErr = &KickError{Queue: l.q.Index(), Result: c.Res}
		}
		l.kicked(c.Res)
	case tagStop: // q.Stopping says it too
	}
}

// settle finishes the requests that the store is done with and returns how many it was done with.
func (l *loop) settle() int {
	if l.lane.InFlight() == 0 {
		return 0
	}
	l.done = l.lane.Settle(l.done[:0])
	if len(l.done) == 0 {
		return 0
	}
	l.clock()
	through, asked := l.dev.writeThrough(), false
	for _, io := range l.done {
		r := &l.requests[io.Tag]
		l.failed(io.Err)
		if r.advance(through) {
			l.lane.Submit(io)
			asked = true
			continue
		}
		l.finish(r)
	}
	if asked {
		l.lane.Dispatch()
	}
	return len(l.done)
}

// finish writes the status and gives the chain back. Where the status cannot be written, because
// there is no place for it or its memory is gone, nothing counts as written.
func (l *loop) finish(r *request) {
	written := uint32(0)
	if at := r.chain.WriteLen; at >= statusSize {
		if _, err := r.chain.CopyOut(r.status[:], at-statusSize); err == nil {
			written = uint32(r.written + statusSize)
		}
	}
	l.q.Complete(&r.chain, written)
	l.completed = true
	l.record(r)
	l.free = append(l.free, r)
}

// publish makes everything that was finished visible to the guest, with one notification.
func (l *loop) publish() {
	if !l.completed || !l.mayPublish() {
		return
	}
	l.completed = false
	l.look()
	l.tally.flush() // before the guest sees it, so that it finds itself counted
	calls := l.q.Notifications()
	if err := l.q.Publish(); err != nil && l.ringErr == nil {
		l.ringErr = err
	}
	l.clock()
	l.tell(l.q.Notifications() != calls)
}
