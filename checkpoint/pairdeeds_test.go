package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// The deeds of a pair: on the primary's side changes are tracked, on the secondary's they are
// staged and loaded. A rig does both, one after the other.

// stagedState is a stage as the ledger knows it.
type stagedState struct {
	*Stage
	tags map[int]tag // by sector
}

// stage puts something into the stage.
func (r *rig) stage() {
	if r.staged == nil {
		st, err := r.s.Stage()
		if r.refused(err, "stage") {
			return
		}
		r.staged = &stagedState{st, map[int]tag{}}
	}
	const per = blockSize / sectorSize
	for range 1 + r.rng.IntN(3) {
		size := r.s.Size()
		off := r.rng.Int64N((size+blockSize-1)/blockSize) * blockSize
		n := min((1+r.rng.Int64N(4))*blockSize, size-off)
		t := tag(0)
		var err error
		if r.rng.IntN(5) == 0 {
			err = r.staged.Zero(off, n)
		} else {
			r.ledger.next++
			t = r.ledger.next
			p := make([]byte, n)
			for i := range len(p) / sectorSize {
				t.fill(p[i*sectorSize:(i+1)*sectorSize], int(off/sectorSize)+i)
			}
			err = r.staged.Write(off, p)
		}
		if r.refused(err, "stage") {
			r.unstage()
			return
		}
		for i := range int(n+blockSize-1) / blockSize * per {
			if at := int(off/sectorSize) + i; at < int(size/sectorSize) {
				r.staged.tags[at] = t
			}
		}
	}
	if r.rng.IntN(8) == 0 {
		r.unstage()
	}
}

func (r *rig) unstage() {
	if r.staged != nil {
		r.staged.Drop()
		r.staged = nil
	}
}

// load makes what is staged the state, on the newest point.
func (r *rig) load() {
	r.untrack()
	if r.staged == nil {
		r.stage()
	}
	base := r.loadable()
	if base == nil || r.staged == nil {
		r.start()
		return
	}
	r.settle()
	r.alone(func() { r.loadOnto(base) })
	r.peek()
}

// loadable returns the newest point if one can load onto it.
func (r *rig) loadable() *mark {
	ps := r.s.Points()
	if len(ps) == 0 || len(r.ledger.marks) > 12 {
		return nil
	}
	m := r.ledger.mark(ps[len(ps)-1].ID)
	if m == nil || m.line != r.ledger.line || m.size != r.ledger.size {
		return nil
	}
	return m
}

func (r *rig) loadOnto(base *mark) {
	l, st := r.ledger, r.staged
	r.staged = nil
	at := l.tick()
	made := &mark{id: uint32(r.s.epoch), line: l.line, tags: slices.Clone(base.tags), size: l.size, parent: base,
		at: at, retired: true}
	const per = blockSize / sectorSize
	end := int(l.size / sectorSize)
	_, stays := st.tags[end-1] // what a staged block has beyond the end of the disk
	for i := range made.tags {
		if t, ok := st.tags[i]; ok {
			made.tags[i] = t
		} else if stays && i >= end && i/per == (end-1)/per {
			made.tags[i] = l.current()[i]
		}
	}
	var released []*mark
	for _, q := range l.alive() {
		if q.id < made.id && q.retired && !q.keep && !r.viewed(q) {
			q.gone = at
			released = append(released, q)
		}
	}
	l.turn = &turn{line: l.line, to: made, onto: base}
	if r.rng.IntN(4) == 0 {
		if r.refused(st.Seal(), "seal") {
			return
		}
	}
	res, err := r.s.Load(context.Background(), st.Stage, base.id, "")
	if r.refused(err, "load") {
		return
	}
	if res.Point.ID != made.id || !res.Point.Retired {
		r.must(fmt.Errorf("load onto %d: %+v", base.id, res))
	}
	l.turn = nil
	l.become(made.tags, at)
	l.marks = append(l.marks, made)
	loadings.made.Add(1)
	l.loads = append(l.loads, loaded{made, base, l.now})
	l.head = made
	for _, q := range released {
		if _, err := r.s.Find(fmt.Sprint(q.id)); errors.Is(err, ErrNoPoint) {
			q.lost = l.now
		}
	}
	l.forget()
}

// loaded is a load that a power cut may still undo.
type loaded struct {
	made, onto *mark
	at         int // when it was complete
}

// prefix says what the loads that a store has, and those it has not, mean for the rest: whatever
// came before one that is there is there, and nothing that came after one that is not. Before that,
// the state that it was to replace must be there.
func (l *ledger) prefix(s *Store, upTo int) (from, before int, err error) {
	there := func(m *mark) bool {
		return slices.ContainsFunc(s.Points(), func(p Point) bool { return p.ID == m.id })
	}
	before = never
	if l.turn != nil && l.turn.onto != nil {
		if l.turned(s) {
			loadings.there.Add(1)
		} else {
			loadings.not.Add(1)
		}
	}
	for i := len(l.loads) - 1; i >= 0; i-- {
		d := l.loads[i]
		switch {
		case d.made.gone != 0 && !(i+1 < len(l.loads) && before == l.loads[i+1].made.at):
			continue // it was deleted, or that is under way
		case there(d.made):
			loadings.there.Add(1)
			return max(upTo, d.at), before, nil
		case d.at <= upTo:
			return upTo, before, fmt.Errorf("the load of point %d is lost", d.made.id)
		}
		before = d.made.at
		loadings.not.Add(1)
		if d.onto.at <= upTo && !there(d.onto) {
			err = fmt.Errorf("neither point %d is there, nor %d that it was loaded onto", d.made.id, d.onto.id)
		}
	}
	return upTo, before, err
}

// tracking is a tracker and a copy of the disk that its changes make.
type tracking struct {
	*Tracker
	copy    []byte
	cuts    []*mark // of the epochs that were cut and not yet done
	batches []heldBatch
}

// heldBatch is a batch that was read and not released.
type heldBatch struct {
	*Batch
	read [][]byte
}

// track begins to track, ends an epoch, or takes a batch.
func (r *rig) track() {
	if r.tracked == nil {
		r.settle()
		r.alone(func() {
			tr, err := r.s.Track()
			if !r.refused(err, "track") {
				r.tracked = &tracking{Tracker: tr, copy: make([]byte, r.s.Size())}
				_, err := r.s.ReadAt(r.tracked.copy, 0)
				r.refused(err, "read")
			}
		})
		return
	}
	switch k := r.rng.IntN(20); {
	case k == 0:
		r.untrack()
	case k < 4 && len(r.ledger.waiting()) < 4 && len(r.ledger.marks) <= 12:
		p, _, err := r.tracked.Start("")
		if !r.refused(err, "cut") {
			r.alone(func() { r.noteStart(p, false) })
			r.tracked.cuts = append(r.tracked.cuts, r.ledger.head)
		}
	case k < 8:
		r.alone(r.releaseBatch)
	default:
		r.alone(func() { r.takeBatch() })
	}
}

// takeBatch applies a batch to the copy. False: there is none.
func (r *rig) takeBatch() bool {
	k := r.tracked
	b, err := k.Next(r.rng.Int64N(6) * blockSize)
	if r.refused(err, "batch") || b == nil {
		return false
	}
	h := heldBatch{Batch: b}
	for _, c := range b.Changes {
		p := k.copy[c.Off : c.Off+c.Len]
		if r.refused(b.ReadAt(p, c.Off), "batch") {
			return false
		}
		h.read = append(h.read, bytes.Clone(p))
	}
	if b.Done {
		r.judgeCopy(k.cuts[0].tags, fmt.Sprintf("epoch %d", b.Epoch))
		k.cuts = k.cuts[1:]
	}
	if k.batches = append(k.batches, h); len(k.batches) > 3 {
		r.releaseBatch()
	}
	return true
}

func (r *rig) judgeCopy(want []tag, what string) {
	if r.faulty && r.broken {
		return
	}
	seen, err := readTags(r.tracked.copy)
	r.must(err)
	r.must(sameTags(seen, want, what))
}

// releaseBatch reads a batch once more, which nobody may have written over, and releases it.
func (r *rig) releaseBatch() {
	k := r.tracked
	if len(k.batches) == 0 {
		return
	}
	h := k.batches[0]
	k.batches = k.batches[1:]
	for i, c := range h.Changes {
		p := make([]byte, c.Len)
		if r.refused(h.ReadAt(p, c.Off), "batch") {
			break
		}
		if !bytes.Equal(p, h.read[i]) {
			r.must(fmt.Errorf("%+v of epoch %d was written over", c, h.Epoch))
		}
	}
	h.Release()
}

// untrack takes all that is left, with nothing in flight: then the copy is the disk.
func (r *rig) untrack() {
	if r.tracked == nil {
		return
	}
	r.settle()
	r.alone(func() {
		for r.takeBatch() {
		}
		for len(r.tracked.batches) > 0 {
			r.releaseBatch()
		}
		if r.rng.IntN(4) > 0 && !r.faulty {
			r.judgeCopy(r.ledger.current(), "the copy")
		}
		r.tracked.Close()
		r.tracked = nil
	})
}
