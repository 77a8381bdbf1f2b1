package checkpoint

import (
	"fmt"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// A Tracker knows which blocks changed and were not yet taken to be sent elsewhere. Its epochs are
// its own, numbered from 0; Cut, or Start, ends one. What changed in an epoch is taken in batches:
// that of the open epoch as the blocks are when they are taken, and if they change again they are
// taken again; that of an ended one as it was when it ended, however the disk goes on.
//
// While nobody tracks, a write costs one comparison more. While somebody does, it costs one bit
// for each block (BenchmarkTrack).
//
// What a batch names is kept from being written again until it is released. That holds back the
// reuse of all space given up since: who takes a batch releases it soon, or the disk may fill up.
//
// The store's mutex guards every field.
type Tracker struct {
	s      *Store
	number uint64        // of the open epoch
	open   blockSet      // changed in it, and not taken since
	ended  []*endedEpoch // oldest first, those of which not all was taken
	cursor block         // where the next batch of the open epoch begins
	idle   bool          // Next found nothing: the next change wakes
	ready  chan struct{} // of one place
	failed error         // a batch could not be made
	closed bool
}

// endedEpoch is an epoch that takes no more changes.
type endedEpoch struct {
	number uint64
	left   blockSet       // not taken yet
	late   map[block]slot // of left: what changed since the end, with where it lay then
	gen    uint64         // reader of limbo since the end
	pins   int            // batches not released, and one as long as there is something left
	cursor block
}

// Change is a range of the disk, in bytes: multiples of 4096 but at the disk's end.
type Change struct {
	Off, Len int64
	Zero     bool  // it reads as zeroes
	Place    int64 // the byte of the data area where its data lies; -1: it has none of its own

	Sum    uint32 // CRC32C of the data, made when the guest wrote it
	Summed bool   // there is one: the volume has payload checksums
}

// Batch is what Next took: ranges of one epoch. Where nothing changes meanwhile they ascend.
type Batch struct {
	Epoch   uint64
	Changes []Change
	Done    bool // the epoch has ended and this was the last of it

	t     *Tracker
	of    *endedEpoch // nil: of the open epoch
	gen   uint64
	freed bool
}

// Track begins to track changes; nothing has changed yet. There is one tracker at a time, and
// while there is, the disk is not rolled back or resized.
func (s *Store) Track() (*Tracker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return nil, err
	}
	if s.tracker != nil {
		return nil, fmt.Errorf("tracking changes: %w", ErrMirrored)
	}
	s.tracker = &Tracker{s: s, ready: make(chan struct{}, 1), idle: true}
	return s.tracker, nil
}

// unmirrored refuses what a tracker does not follow.
func (s *Store) unmirrored(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tracker != nil {
		return fmt.Errorf("%s: %w", what, ErrMirrored)
	}
	return nil
}

// note takes in what is about to be written: the map still has what was there. The mutex is held,
// and the map of the places is in memory.
func (t *Tracker) note(places []placement) {
	for _, p := range places {
		for _, q := range t.ended {
			t.keep(q, p)
		}
		if p.slot != slotZero {
			t.open.add(p.block, p.n)
			continue
		}
		for p.n > 0 { // only what does not read as zeroes yet
			e, n := t.s.blocks.run(p.block, p.n)
			if t.s.shows(e.slot()) != slotZero {
				t.open.add(p.block, n)
			}
			p.block, p.n = p.block+block(n), p.n-n
		}
	}
	t.wake()
}

// wake tells who waits that there is something.
func (t *Tracker) wake() {
	if t.idle && (t.open.n > 0 || len(t.ended) > 0) {
		t.idle = false
		select {
		case t.ready <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// keep notes where blocks lay that an ended epoch still wants and that are about to be overwritten.
func (t *Tracker) keep(q *endedEpoch, p placement) {
	end := p.block + block(p.n)
	for b := p.block; b < end && q.left.n > 0; {
		at, n := q.left.next(b, uint64(end-b))
		if n == 0 || at >= end {
			return
		}
		for b = at; b < min(at+block(n), end); b++ {
			if _, ok := q.late[b]; !ok {
				e, _ := t.s.blocks.run(b, 1)
				q.late[b] = e.slot()
			}
		}
	}
}

// Ready receives something when Next, after it found nothing, may find something.
func (t *Tracker) Ready() <-chan struct{} { return t.ready }

// Pending returns how many bytes wait to be taken: of the open epoch, and of ended ones.
func (t *Tracker) Pending() (open, ended int64) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for _, q := range t.ended {
		ended += int64(q.left.n) * blockSize
	}
	return int64(t.open.n) * blockSize, ended
}

// Epoch returns the number of the open epoch.
func (t *Tracker) Epoch() uint64 {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.number
}

// Add has ranges taken that did not change: off and n are in bytes.
func (t *Tracker) Add(off, n int64) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if off < 0 || n < 0 || off > t.s.size || n > t.s.size-off {
		return fmt.Errorf("%d bytes from %d on a disk of %d bytes", n, off, t.s.size)
	}
	if n > 0 {
		first, last := uint64(off)/blockSize, uint64(off+n+blockSize-1)/blockSize
		t.open.add(block(first), last-first)
		t.wake()
	}
	return nil
}

// Cut ends the open epoch and returns its number: everything committed before belongs to it, or to
// an earlier one, and nothing that is committed later. It takes the same short time always.
func (t *Tracker) Cut() uint64 {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.cut()
}

func (t *Tracker) cut() uint64 {
	q := &endedEpoch{number: t.number, left: t.open, late: map[block]slot{}, cursor: t.cursor, pins: 1}
	q.gen = t.s.limbo.enter()
	t.open = blockSet{}
	t.number, t.cursor = t.number+1, 0
	t.ended = append(t.ended, q)
	t.wake()
	return q.number
}

// Start puts a point and cuts, at the same place in the order of writes. The point is released like
// one without a name; a name is for finding it.
func (t *Tracker) Start(name string) (Point, uint64, error) {
	var number uint64
	began := probe.Now()
	p := &point{name: name, time: time.Now(), started: func() { number = t.cut() }}
	made, err := t.s.startPoint(p)
	t.s.tell(probe.CheckpointStart, made.ID, began, err)
	return made, number, err
}

// Close ends the tracking. Batches are to be released all the same.
func (t *Tracker) Close() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	for _, q := range t.ended {
		t.unpin(q)
	}
	t.ended = nil
	t.s.tracker = nil
	t.s.limbo.collect(t.s.release)
}
