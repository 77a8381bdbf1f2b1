package checkpoint

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// stepper is an engine whose operations are completed one by one.
type stepper interface {
	bio.Engine
	Step() (tag uint64, res int32, ok bool)
}

// haste says which operations an engine reports as complete before they are: a swap of rows.
type haste int

const (
	hastyWrites haste = iota + 1
	hastyIntents
	hastySyncs
)

// hastyEngine is such an engine.
type hastyEngine struct {
	stepper
	r     *rig
	s     *Store
	early []completion
}

func (e *hastyEngine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	ring := e.s.intents.ring
	intent := ring.n > 0 && off >= int64(ring.first)*blockSize && off < int64(ring.first+slot(ring.n))*blockSize
	if e.r.hasty == hastySyncs || intent != (e.r.hasty == hastyIntents) {
		e.stepper.Writev(fd, iov, off, tag)
		return
	}
	// The lane uses its buffers again once it is told; the guest's memory is kept by the test.
	own := make([]unix.Iovec, len(iov))
	n := int32(0)
	for i, v := range iov {
		own[i] = v
		n += int32(v.Len)
	}
	e.early = append(e.early, completion{tag, n})
	e.stepper.Writev(fd, own, off, 0)
}

func (e *hastyEngine) Fdatasync(fd int, tag uint64) {
	if e.r.hasty == hastySyncs {
		e.early = append(e.early, completion{tag, 0})
		tag = 0
	}
	e.stepper.Fdatasync(fd, tag)
}

func (e *hastyEngine) Step() (uint64, int32, bool) {
	if k := len(e.early); k > 0 {
		c := e.early[k-1]
		e.early = e.early[:k-1]
		return c.tag, c.res, true
	}
	for {
		tag, res, ok := e.stepper.Step()
		if !ok || tag != 0 {
			return tag, res, ok
		}
	}
}

// worker is a device's queue: it submits random requests to a lane and verifies what they bring.
type worker struct {
	r    *rig
	lane bio.Lane
	eng  stepper
	free []uint32
	busy map[*bio.Request]*errand
	done []*bio.Request
	told map[*bio.Request]bool // acknowledged already (plan.eager)
}

// errand is a request as the ledger knows it.
type errand struct {
	bio.Request
	buf      []byte
	first, n int // sectors that it changes, or reads
	issued   int
}

func newWorker(r *rig, lane bio.Lane, eng stepper) *worker {
	w := &worker{r: r, lane: lane, eng: eng, busy: map[*bio.Request]*errand{}, told: map[*bio.Request]bool{}}
	for i := range r.depth {
		w.free = append(w.free, uint32(i))
	}
	return w
}

// step does one random thing.
func (w *worker) step() {
	switch k := w.r.rng.IntN(10); {
	case k < 3 && len(w.free) > 0:
		for n := 1 + w.r.rng.IntN(3); n > 0 && len(w.free) > 0; n-- {
			w.submit()
		}
		w.urge()
		w.lane.Dispatch()
	case k < 7:
		w.complete()
	default:
		if k < 9 {
			w.lane.Wake()
		}
		w.settle()
	}
}

// urge makes the store write intents though they were of no use lately.
func (w *worker) urge() {
	if in := &w.r.s.intents; w.r.often && !in.off {
		w.r.s.mu.Lock()
		in.wait, in.waited, in.since = 0, 0, 0
		w.r.s.mu.Unlock()
		in.wanted.Store(true)
	}
}

// complete completes one operation.
func (w *worker) complete() bool {
	tag, res, ok := w.eng.Step()
	if ok {
		w.lane.Complete(tag, res)
	}
	return ok
}

// finish completes everything that can be completed.
func (w *worker) finish() {
	for {
		w.lane.Wake()
		w.settle()
		if !w.complete() {
			w.settle()
			return
		}
		for w.complete() {
		}
	}
}

// settle takes what is finished and tells the ledger.
func (w *worker) settle() {
	if w.r.eager {
		w.acknowledge()
	}
	w.done = w.lane.Settle(w.done[:0])
	w.mistake()
	for _, q := range w.done {
		e := w.busy[q]
		delete(w.busy, q)
		w.r.must(likely(q.Times))
		w.free = append(w.free, q.Tag)
		if !w.told[q] {
			w.report(e, q.Err)
		}
		delete(w.told, q)
	}
	w.r.peek()
}

// mistake does what a quick flush must not do, if the plan says so.
func (w *worker) mistake() {
	s := w.r.s
	if !w.r.frees && !w.r.wraps {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.r.frees && s.journal.tail() == s.syncs.covered {
		s.limbo.durable(s.limbo.seal())
		s.limbo.collect(s.release)
	}
	if w.r.wraps {
		s.intents.passed = s.intents.next - 1
	}
}

// acknowledge reports requests whose data is in place before Settle has put them into the journal.
func (w *worker) acknowledge() {
	l := w.lane.(*lane)
	for _, list := range []*workList{&l.arrived, &l.commit} {
		for x := list.first; x != nil; x = x.next {
			if e := w.busy[x.req]; e != nil && x.phase == phasePlace && x.err == nil && !w.told[x.req] {
				w.told[x.req] = true
				w.report(e, nil)
			}
		}
	}
	if len(w.told) > 0 {
		w.r.peek()
	}
}

// report enters the outcome of a request into the ledger.
func (w *worker) report(e *errand, err error) {
	l := w.r.ledger
	if err != nil && !w.r.faulty {
		w.r.must(fmt.Errorf("request %d at byte %d, %d long, failed: %w", e.Op, e.Off, e.Len, err))
	}
	if err != nil {
		w.r.must(typed(err))
		w.r.broken = true
	}
	switch {
	case e.Op == bio.Flush && err == nil:
		l.synced(e.issued)
	case e.Op == bio.Read && w.r.s.poisoned() != nil:
	case e.Op == bio.Read && err == nil:
		w.verify(e)
	case e.Op != bio.Flush && e.Op != bio.Read:
		l.report(e.first, e.n, e.issued, err)
	}
}

// typed reports an error that is none of those that a device can be given.
func typed(err error) error {
	var errno unix.Errno
	for _, known := range []error{ErrPoisoned, ErrNoSpace, ErrCorrupt, bio.ErrFault, errJournalFull} {
		if errors.Is(err, known) {
			return nil
		}
	}
	if errors.As(err, &errno) {
		return nil
	}
	return fmt.Errorf("an error without a type: %w", err)
}

// verify judges what a read brought: each sector may be any version that was not certainly
// replaced when the read was issued. When a sync has failed just now, and the store does not know it yet,
// it may be any.
func (w *worker) verify(e *errand) {
	if w.r.faulty && w.r.disk.Ops() >= w.r.failing {
		return
	}
	for i := range e.n {
		t, ok := readTag(e.buf[i*sectorSize:(i+1)*sectorSize], e.first+i)
		if !ok || !w.r.ledger.allows(e.first+i, t, e.issued) {
			w.r.must(fmt.Errorf("read of sector %d shows write %d, not one of %v since %d", e.first+i, t,
				w.r.ledger.sectors[e.first+i], e.issued))
		}
	}
}

// submit makes a random request.
func (w *worker) submit() {
	l := w.r.ledger
	e := &errand{}
	e.Op = w.pick()
	e.Tag, w.free = w.free[len(w.free)-1], w.free[:len(w.free)-1]
	if e.Op != bio.Flush {
		e.first, e.n = w.place()
		e.Off, e.Len = int64(e.first)*sectorSize, int64(e.n)*sectorSize
	}
	switch e.Op {
	case bio.Write:
		l.next++
		w.memory(e)
		for i := range e.n {
			l.next.fill(e.buf[i*sectorSize:(i+1)*sectorSize], e.first+i)
		}
		e.issued = l.issue(e.first, e.n, l.next)
	case bio.WriteZeroes:
		e.issued = l.issue(e.first, e.n, 0)
	case bio.Discard:
		const per = blockSize / sectorSize
		end := (e.first + e.n) / per * per
		e.first = (e.first + per - 1) / per * per
		e.n = max(0, end-e.first)
		e.issued = l.issue(e.first, e.n, 0)
	case bio.Read:
		w.memory(e)
		e.issued = l.tick()
	default:
		e.issued = l.tick()
	}
	w.busy[&e.Request] = e
	w.lane.Submit(&e.Request)
}

func (w *worker) pick() bio.Op {
	if w.r.often && w.r.rng.IntN(16) > 0 {
		return []bio.Op{bio.Write, bio.Write, bio.Flush}[w.r.rng.IntN(3)]
	}
	switch k := w.r.rng.IntN(20); {
	case k < 11:
		return bio.Write
	case k < 14:
		return bio.Read
	case k < 16:
		return bio.Discard
	case k < 17:
		return bio.WriteZeroes
	}
	return bio.Flush
}

// place chooses where a request goes: few places, so that requests meet.
func (w *worker) place() (first, n int) {
	const per = blockSize / sectorSize
	total := int(w.r.s.Size() / sectorSize)
	first = w.r.rng.IntN(total)
	way := w.r.rng.IntN(8)
	if w.r.often && way == 0 {
		way = 1 // a write of any length is one without an intent
	}
	switch way {
	case 0:
		n = 1 + w.r.rng.IntN(total)
	case 1, 2, 3:
		first -= first % per
		n = per * (1 + w.r.rng.IntN(4))
	default:
		n = 1 + w.r.rng.IntN(2*per)
	}
	return first, min(n, total-first)
}

// memory gives a request its buffer: at any address, in any pieces, sometimes.
func (w *worker) memory(e *errand) {
	rng := w.r.rng
	mem := alignedBytes(int(e.Len) + blockSize)
	skip := 0
	if rng.IntN(4) == 0 {
		skip = rng.IntN(blockSize)
	}
	e.buf = mem[skip : skip+int(e.Len)]
	rest := e.buf
	unit := sectorSize
	if skip > 0 {
		unit = 1
	}
	for pieces := rng.IntN(4); pieces > 0 && len(rest) > unit; pieces-- {
		n := unit * (1 + rng.IntN(len(rest)/unit))
		if n >= len(rest) {
			break
		}
		e.Iov = append(e.Iov, unix.Iovec{Base: unsafe.SliceData(rest), Len: uint64(n)})
		rest = rest[n:]
	}
	e.Iov = append(e.Iov, unix.Iovec{Base: unsafe.SliceData(rest), Len: uint64(len(rest))})
}
