package checkpoint

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// Sizes of a lane's steps.
const (
	windowBytes  = 1 << 20   // of a request handled at a time
	bounceBytes  = 64 << 10  // of the lane's buffer for one request
	discardBytes = 128 << 20 // of a discard handled at a time
	writeBytes   = 256 << 10 // of one write to the data file
)

// lane is one worker's way into the store; it implements bio.Lane.
//
// A write goes through four steps, and the order of the last three is what recovery relies on
// (docs/ORDERING.md): its data is put into free slots (place.go); when the data is there, the
// batch of all such writes draws a sequence number and enters journal and map (commit.go); only
// then is it reported. Blocks written in part are read and merged first (merge.go).
//
// Everything belongs to the worker's thread but mail, which others fill. The store's mutex is
// taken once per batch for looking up and once for committing.
type lane struct {
	s   *Store
	eng bio.Engine

	works    []work // by tag
	inFlight int
	mem      []byte // one bounce buffer and two edge buffers per work

	batch    workList // submitted, to be planned at the next Dispatch
	place    workList // whole blocks, to be given slots
	parked   workList // like place, but the store has no free slot now
	arrived  workList // all operations of the step are done
	commit   workList // data is in place
	stalled  bool     // commit waits for room in the journal
	finished workList
	placing  []*work   // those that placeAll gave slots
	pledges  []*pledge // not open

	out    []*op // planned, to be handed to the engine
	ops    []*op // all, by index; the engine's tags name them
	idle   []*op
	sync   *op      // of out, if there is one
	region []extent // free slots that this lane has taken for its next writes
	free   uint64   // how many

	seen  uint64 // when this round's completions came; 0: nobody has asked yet
	epoch epoch  // the open one when the store's mutex was held last

	leaves  []uint64 // generations that readers left, not told to limbo yet
	entries entries  // of the record being written

	wake int // eventfd
	mail mail
}

// mail is what other goroutines leave for a lane.
type mail struct {
	mu      sync.Mutex
	flushed []flushed
	again   []uint32 // tags of flushes to be planned once more
	read    []arrival
	retry   bool // there may be free slots, or room in the journal, again
	full    bool // there are no free slots to be had
	closed  bool
}

// flushed is the outcome of a flush.
type flushed struct {
	tag   uint32
	err   error
	spent spent
}

// arrival is the outcome of an operation that did not go through the engine.
type arrival struct {
	op  *op
	err error
}

// NewLane returns a way into the store for one worker with at most depth requests in flight.
// It moves data through eng.
func (s *Store) NewLane(depth int, eng bio.Engine) (bio.Lane, error) {
	if depth < 1 || depth > 1<<16 {
		return nil, fmt.Errorf("lane depth %d: must be 1 to %d", depth, 1<<16)
	}
	const perWork = bounceBytes + 2*blockSize
	mem, err := unix.Mmap(-1, 0, depth*perWork+lanePledges*intentLen, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("lane buffers: %w", err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("lane eventfd: %w", err)
	}
	l := &lane{s: s, eng: eng, works: make([]work, depth), mem: mem, wake: fd}
	for i := range l.works {
		w := &l.works[i]
		w.tag = uint32(i)
		edges := mem[i*perWork+bounceBytes:]
		w.head.buf, w.tail.buf = edges[:blockSize:blockSize], edges[blockSize:2*blockSize:2*blockSize]
	}
	for i := range lanePledges {
		at := depth*perWork + i*intentLen
		l.pledges = append(l.pledges, &pledge{buf: mem[at : at+intentLen : at+intentLen]})
	}
	s.mu.Lock()
	s.lanes = append(s.lanes, l)
	l.epoch = s.epoch
	s.mu.Unlock()
	return l, nil
}

// bounce returns the work's buffer for data that the device cannot take from where it is.
func (l *lane) bounce(w *work) []byte {
	const perWork = bounceBytes + 2*blockSize
	at := int(w.tag) * perWork
	return l.mem[at : at+bounceBytes : at+bounceBytes]
}

// Submit takes a request into the batch that the next Dispatch starts.
func (l *lane) Submit(r *bio.Request) {
	w := &l.works[r.Tag]
	w.req, w.err, w.alone, w.upTo = r, nil, false, 0
	w.off, w.end = r.Off, r.Off
	l.inFlight++
	if err := l.s.admit(r); err != nil {
		l.finish(w, err)
		return
	}
	l.batch.push(w)
}

// admit judges a request before anything is done for it.
func (s *Store) admit(r *bio.Request) error {
	if r.Op == bio.Read {
		return s.inRange(r)
	}
	if err := s.poisoned(); err != nil {
		return err
	}
	if r.Op == bio.Flush {
		return nil
	}
	if s.opts.ReadOnly {
		return bio.ErrReadOnly
	}
	return s.inRange(r)
}

func (s *Store) inRange(r *bio.Request) error {
	size := s.diskSize.Load()
	if r.Off < 0 || r.Len <= 0 || (r.Off|r.Len)%sectorSize != 0 || r.Off > size || r.Len > size-r.Off {
		return bio.ErrRange
	}
	return nil
}

// Dispatch plans the batch under one hold of the store's mutex and starts its operations.
func (l *lane) Dispatch() {
	for l.batch.n+l.place.n > 0 {
		batch := l.batch.takeAll()
		small := l.mayPledge(&batch)
		for w := batch.first; w != nil; w = w.next {
			w.small = small && w.req.Op == bio.Write
			l.nextWindow(w)
		}
		l.s.mu.Lock()
		l.epoch = l.s.epoch
		for w := batch.pop(); w != nil; w = batch.pop() {
			l.plan(w)
		}
		l.placeAll()
		l.s.mu.Unlock()
		l.launch()
	}
}

// plan looks up what a window needs. The store's mutex is held.
func (l *lane) plan(w *work) {
	if w.err != nil {
		l.finish(w, w.err)
		return
	}
	switch w.req.Op {
	case bio.Read:
		l.planRead(w)
	case bio.Write, bio.Discard, bio.WriteZeroes:
		l.planWrite(w)
	case bio.Flush:
		l.planFlush(w)
	default:
		l.finish(w, fmt.Errorf("operation %d: %w", w.req.Op, bio.ErrRange))
	}
}

// nextWindow sets up the next part of a request, and its data where it must be copied.
func (l *lane) nextWindow(w *work) {
	r := w.req
	w.off = w.end
	w.placed, w.sums = w.placed[:0], w.sums[:0]
	if r.Op == bio.Flush {
		return
	}
	rest := r.Off + r.Len - w.off
	if r.Op != bio.Read && r.Op != bio.Write {
		w.end = w.off + windowOf(w.off, rest, discardBytes)
		return
	}
	w.bounced = w.small || l.s.mustBounce(r)
	limit := int64(windowBytes)
	if w.bounced {
		limit = bounceBytes
	}
	w.end = w.off + windowOf(w.off, rest, limit)
	w.vec = r.Iov
	if w.off != r.Off || w.end-w.off != r.Len {
		w.own = appendVectors(w.own[:0], r.Iov, w.off-r.Off, w.end-w.off)
		w.vec = w.own
	}
	if w.bounced {
		l.s.stats.bounced.Add(1)
		w.buf[0] = vectorOf(l.bounce(w))
		if r.Op == bio.Write {
			w.err = copyIn(l.bounced(w), w.vec, 0)
		}
	}
}

// windowOf returns how much of rest bytes from off are handled at a time: what fits into the
// blocks that limit bytes hold, so that windows meet at block boundaries.
func windowOf(off, rest, limit int64) int64 {
	return min(rest, limit-off%blockSize)
}

// bounced returns the part of the work's buffer that stands for the window: it lies as deep in
// its first block as the window does.
func (l *lane) bounced(w *work) []byte {
	in := w.off % blockSize
	return l.bounce(w)[in : in+w.end-w.off]
}

// mustBounce reports whether a request's memory cannot go to the device as it is: because of its
// alignment under direct I/O, or because the guest could change it behind a checksum.
func (s *Store) mustBounce(r *bio.Request) bool {
	return s.checksums || s.align > 1 && (!aligned(r.Iov, s.align) || (r.Off|r.Len)%int64(s.align) != 0)
}

// Complete takes an engine's completion.
func (l *lane) Complete(tag uint64, res int32) {
	i := tag &^ bio.LaneTag
	if i >= uint64(len(l.ops)) {
		invariant("completion of an operation that was never started")
	}
	l.landed(l.ops[i], res)
}

// Wake picks up what others left.
func (l *lane) Wake() {
	l.mail.mu.Lock()
	done, read, retry, full := l.mail.flushed, l.mail.read, l.mail.retry, l.mail.full
	again := l.mail.again
	l.mail.flushed, l.mail.read, l.mail.retry, l.mail.full = nil, nil, false, false
	l.mail.again = nil
	l.mail.mu.Unlock()
	for _, tag := range again {
		l.batch.push(&l.works[tag])
	}
	for _, f := range done {
		f.spent.addTo(l.works[f.tag].req)
		l.finish(&l.works[f.tag], f.err)
	}
	for _, a := range read {
		l.over(a.op, a.err)
	}
	if retry {
		l.stalled = false
	}
	for w := l.parked.first; (retry || full) && w != nil; w = l.parked.first {
		l.parked.pop()
		if full && !retry {
			l.finish(w, bio.ErrNoSpace)
			continue
		}
		if w.head.used || w.tail.used {
			l.again(w)
			continue
		}
		l.place.push(w)
	}
}

// post leaves something in a lane's mail and wakes its worker. Any goroutine may call it.
func (l *lane) post(leave func(*mail)) {
	l.mail.mu.Lock()
	defer l.mail.mu.Unlock()
	leave(&l.mail)
	if !l.mail.closed {
		one := [8]byte{1}
		_, _ = unix.Write(l.wake, one[:]) // full means that it is readable already
	}
}

// Settle goes on with every request that can, commits what is in place and returns what is
// finished.
func (l *lane) Settle(done []*bio.Request) []*bio.Request {
	for {
		for w := l.arrived.pop(); w != nil; w = l.arrived.pop() {
			l.step(w)
		}
		l.commitAll()
		if l.batch.n+l.place.n+l.arrived.n == 0 {
			break
		}
		l.Dispatch()
	}
	for w := l.finished.pop(); w != nil; w = l.finished.pop() {
		w.req.Err = w.err
		done = append(done, w.req)
		w.req, w.vec = nil, nil
		l.inFlight--
	}
	l.seen = 0
	return done
}

// step moves a work on whose operations are all done.
func (l *lane) step(w *work) {
	switch w.phase {
	case phaseRead:
		l.delivered(w)
	case phaseMerge:
		l.merge(w)
	case phasePlace:
		l.placedAll(w)
	case phaseSync:
		l.finish(w, w.err)
	}
}

// finish ends a request.
func (l *lane) finish(w *work, err error) {
	w.err, w.req.Epoch = err, uint64(l.epoch)
	l.finished.push(w)
}

// advance ends a window: the request goes on with the next one or is finished.
func (l *lane) advance(w *work) {
	if w.err != nil || w.end == w.req.Off+w.req.Len {
		l.finish(w, w.err)
		return
	}
	l.batch.push(w)
}

// InFlight returns the number of requests submitted and not yet returned by Settle.
func (l *lane) InFlight() int { return l.inFlight }

// WakeFD returns the eventfd that says that Wake has something to do.
func (l *lane) WakeFD() int { return l.wake }

// Close gives back what the lane holds.
func (l *lane) Close() error {
	if l.inFlight > 0 {
		return fmt.Errorf("lane closed with %d requests in flight", l.inFlight)
	}
	l.s.mu.Lock()
	for _, x := range l.region {
		l.s.slots.release(x)
	}
	for i, other := range l.s.lanes {
		if other == l {
			l.s.lanes = append(l.s.lanes[:i], l.s.lanes[i+1:]...)
			break
		}
	}
	l.s.mu.Unlock()
	if err := unix.Munmap(l.mem); err != nil {
		return fmt.Errorf("lane buffers: %w", err)
	}
	l.mail.mu.Lock()
	defer l.mail.mu.Unlock()
	l.mail.closed = true // the descriptor's number will soon be somebody else's
	return unix.Close(l.wake)
}
