package checkpoint

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
)

// Where flushes come often, small batches of writes are recorded twice: in the journal, as ever,
// and by an intent, a block that is written to the data area together with the data (pledge.go).
// A flush then needs no proof and no sync of the journal: once the data area is synced, recovery
// finds whatever the intents of the incarnation say and whose data is there (recall.go). That is
// one device flush instead of two and a write (quick.go).
//
// Intents are numbered when they are drawn. A cut, which is where a proof or a snapshot is taken,
// passes all those drawn before it: recovery from there on does not look at them. So a record is
// backed by its intent if no cut came between the two. And it is recovered in the right order:
// no two intents that are open, which is from drawing to commit, name the same block.

// intents is the state of that. The store's mutex guards it, but for wanted.
type intents struct {
	id   [16]byte // of the volume; like ring, it never changes
	ring intentRing
	off  bool // none are drawn, because there is no ring or because it cannot be written

	next    intentNumber // the next one drawn
	cut     intentNumber // the last one that the newest cut passed
	passed  intentNumber // the last one that the newest durable proof passed: its place is free
	rounded intentNumber // the last one that the newest flush round passed, or will
	bare    position     // end of the last record that no intent backs
	open    []*pledge    // drawn, and not all of it committed

	since  int          // batches since the last flush
	asked  intentNumber // next at the last flush
	wait   int          // flushes until intents are tried again
	waited int          // how many that were the last time
	wanted atomic.Bool  // whether the next batches shall have intents
}

const (
	// nearBatches is how many batches may come between two flushes that are worth intents: each
	// costs a write to the device, and together they save about two flushes of it.
	nearBatches = 8
	// maxOpen bounds the intents open at a time, which are all compared with a new one.
	maxOpen = 16
	// maxWait bounds how many flushes pass until intents are tried again that were of no use.
	maxWait = 63
	// intentCost is what recovery needs of the journal for an intent, at most.
	intentCost = recordHead + writeHead + intentBlocks*(writeEntry+4)
)

// chooseRing takes slots for the next incarnation's intents: a stretch that nothing names, and that
// nobody uses while the process lives. Where there is none to spare there are no intents.
func (s *Store) chooseRing(*struct{}) error {
	in := &s.intents
	in.id, in.next, in.asked = s.super.id, 1, 1
	want := min(s.tuning.intentSlots, maxRing, s.journal.room()/(4*intentCost))
	in.ring = intentRing{extent: s.reserveStretch(want)}
	if in.off = in.ring.n == 0; in.off {
		in.ring = intentRing{}
		return nil
	}
	var key [8]byte
	_, _ = rand.Read(key[:]) // cannot fail
	in.ring.key = binary.LittleEndian.Uint64(key[:])
	s.journal.ring = in.ring
	return nil
}

// reserveStretch makes up to n slots that lie side by side busy; none where they would be missed. It
// takes them from the end of the data area, behind what writes are given.
func (s *Store) reserveStretch(n uint64) extent {
	var err error
	x := s.slots.takeWarm(n)
	for tries := 0; x.n < n && tries < 8 && s.grow(n-x.n, &err); tries++ {
		s.slots.release(x)
		x = s.slots.takeWarm(n)
	}
	missed := s.fixed && s.slots.usage().free < 16*n
	if missed || x.n < n/16 {
		s.slots.release(x)
		return extent{}
	}
	return x
}

// draw gives an intent its number and makes it open. False: not now. The mutex is held.
func (s *Store) draw(p *pledge) bool {
	in := &s.intents
	unproven := uint64(in.next - in.passed)
	if in.off || unproven > in.ring.n || len(in.open) >= maxOpen {
		return false
	}
	if !s.journal.fits(int(unproven) * intentCost) { // recovery could not enter them
		return false
	}
	for _, q := range in.open {
		if meet(q.places, p.places) {
			return false
		}
	}
	p.number, p.line, p.epoch = in.next, s.line, s.epoch
	p.incarnation = s.journal.start().incarnation
	in.next++
	in.open = append(in.open, p)
	return true
}

// meet reports whether two lists of places have a block in common.
func meet(a, b []placement) bool {
	for _, p := range a {
		for _, q := range b {
			if p.block < q.block+block(q.n) && q.block < p.block+block(p.n) {
				return true
			}
		}
	}
	return false
}

// passIntents is what a cut does: it passes the intents drawn so far, and returns the last one. The
// mutex is held.
func (s *Store) passIntents() intentNumber {
	s.intents.cut = s.intents.next - 1
	return s.intents.cut
}

// backed reports whether recovery would find what a work does now by its intent. The mutex is held.
func (s *Store) backed(w *work) bool {
	p := w.pledge
	return p != nil && !p.failed && p.number > s.intents.cut && p.line == s.line && p.epoch == s.epoch
}

// close ends an intent that has no work left. The mutex is held.
func (in *intents) close(p *pledge) {
	for i, q := range in.open {
		if q == p {
			last := len(in.open) - 1
			in.open[i], in.open[last] = in.open[last], nil
			in.open = in.open[:last]
			return
		}
	}
	invariant("an intent closed that was not open")
}

// crowded reports whether it is time for a round, so that the ring has room. The mutex is held.
func (in *intents) crowded() bool {
	return !in.off && uint64(in.next-1-max(in.passed, in.rounded)) > in.ring.n/2
}

// batched counts a batch. The mutex is held.
func (in *intents) batched() {
	if in.since++; in.since == nearBatches {
		in.wanted.Store(false)
	}
}

// flushed decides, at a flush that has something to do, whether the batches to come shall have
// intents: not if they are too many, and not for a while if the last ones were of no use. The mutex
// is held.
func (in *intents) flushed(quick bool) {
	used := in.next != in.asked
	switch {
	case quick:
		in.waited = 0
	case used:
		in.waited = min(2*in.waited+1, maxWait)
		in.wait = in.waited
	case in.wait > 0:
		in.wait--
	}
	in.wanted.Store(!in.off && in.wait == 0 && in.since <= nearBatches)
	in.asked, in.since = in.next, 0
}
