package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/belay-vm/belay/internal/disktest"
)

// The deeds of a random workload.
const (
	doLane = iota
	doFlush
	doTend
	doStart
	doRetire
	doRollback
	doUndo
	doDelete
	doSnapshot
	doResize
	doReopen
	doKill
	doCut
	doLook
	doWatch
	doSettle
	doStage
	doLoad
	doTrack
	numDeeds
)

var usualWeights = [numDeeds]int{
	doLane: 200, doFlush: 10, doTend: 10, doStart: 6, doRetire: 6, doRollback: 2, doUndo: 1, doDelete: 3,
	doSnapshot: 3, doResize: 1, doReopen: 1, doKill: 1, doCut: 1, doLook: 3, doWatch: 1, doSettle: 2,
	doStage: 6, doLoad: 3, doTrack: 10,
}

// deed does one random thing.
func (r *rig) deed() {
	total := 0
	for _, w := range r.weights {
		total += w
	}
	k := r.rng.IntN(total)
	which := 0
	for k >= r.weights[which] {
		k -= r.weights[which]
		which++
	}
	r.spare = 400
	deeds[which](r)
}

var deeds = [numDeeds]func(*rig){
	doLane:     (*rig).laneStep,
	doFlush:    func(r *rig) { r.s.flushOnce() },
	doTend:     func(r *rig) { r.s.tendOnce() },
	doStart:    (*rig).start,
	doRetire:   (*rig).retire,
	doRollback: (*rig).rollback,
	doUndo:     (*rig).undo,
	doDelete:   (*rig).delete,
	doSnapshot: func(r *rig) { r.s.want.snapshot = true; r.s.tendOnce() },
	doResize:   (*rig).resize,
	doReopen:   (*rig).reopen,
	doKill:     func(r *rig) { r.die(disktest.Kill) },
	doCut:      func(r *rig) { r.die(disktest.PowerCut) },
	doLook:     (*rig).look,
	doWatch:    (*rig).watchPoint,
	doSettle:   func(r *rig) { r.settle(); r.must(audit(r.s)) },
	doStage:    (*rig).stage,
	doLoad:     (*rig).load,
	doTrack:    (*rig).track,
}

// refused ends the rig unless an error is the one that the ledger expects: nil, or that of an
// operation that was made to fail. It reports whether there was one.
func (r *rig) refused(err error, what string) bool {
	if err == nil {
		return false
	}
	if !r.faulty {
		r.must(fmt.Errorf("%s: %w", what, err))
	}
	r.must(typed(err))
	r.broken = true
	return true
}

// start puts a point at the end of what is there now.
func (r *rig) start() {
	if len(r.ledger.waiting()) >= 4 || len(r.ledger.marks) > 12 {
		return
	}
	keep := r.rng.IntN(2) == 0
	name := ""
	if keep { // as all are that have a name
		name = r.name()
	}
	p, err := r.s.Start(name, keep)
	if r.refused(err, "start") {
		return
	}
	r.alone(func() { r.noteStart(p, keep) })
}

// noteStart enters a point into the ledger, with exactly what it shows: what was reported before
// must be in there, and what is in flight may be.
func (r *rig) noteStart(p Point, keep bool) {
	l := r.ledger
	m := &mark{id: p.ID, line: p.Line, size: p.Size, keep: keep, parent: l.head}
	seen, err := viewTags(r.s, p.ID)
	if r.faulty && err != nil {
		r.broken = true
		return
	}
	r.must(err)
	for i, t := range seen {
		if !l.allows(i, t, l.now) {
			r.must(fmt.Errorf("point %d: sector %d holds write %d, not one of %v", p.ID, i, t, l.sectors[i]))
		}
	}
	m.tags = append(seen, l.current()[len(seen):]...)
	m.at = l.tick()
	l.marks = append(l.marks, m)
	l.head = m
	r.peek()
}

// retire retires the oldest point that waits.
func (r *rig) retire() {
	l := r.ledger
	waiting := l.waiting()
	if len(waiting) == 0 {
		if _, err := r.s.Retire(context.Background()); !r.faulty && !errors.Is(err, ErrNoPoint) {
			r.must(fmt.Errorf("retired nothing: %v", err))
		}
		return
	}
	m := waiting[0]
	at := l.tick()
	m.doubt = true
	var released []*mark
	for _, q := range l.alive() {
		if q.id < m.id && q.retired && !q.keep && !r.viewed(q) {
			q.gone = at
			released = append(released, q)
		}
	}
	p, err := r.s.Retire(context.Background())
	if r.refused(err, "retire") {
		return
	}
	if p.ID != m.id {
		r.must(fmt.Errorf("retired point %d, want %d", p.ID, m.id))
	}
	m.retired = true
	for _, q := range released {
		q.lost = at
	}
	l.forget()
	l.synced(at)
	r.peek()
}

// forget drops points that are gone for good.
func (l *ledger) forget() {
	var kept []*mark
	for _, m := range l.marks {
		if m.lost == 0 || m.lost > l.durable {
			kept = append(kept, m)
		}
	}
	l.marks = kept
}

// rollback returns to a random point, while no request is in flight.
func (r *rig) rollback() {
	r.untrack()
	if ms := r.ledger.alive(); len(ms) > 0 && len(ms) < 12 {
		r.rollbackTo(ms[r.rng.IntN(len(ms))], func() (RollbackResult, error) { return RollbackResult{}, nil })
	}
}

// undo returns to the state that the last rollback left.
func (r *rig) undo() {
	r.untrack()
	var left *mark
	for _, m := range r.ledger.alive() {
		if m.left {
			left = m
		}
	}
	if left != nil && len(r.ledger.marks) < 12 {
		r.rollbackTo(left, func() (RollbackResult, error) { return r.s.Undo(context.Background()) })
	}
}

func (r *rig) rollbackTo(to *mark, undo func() (RollbackResult, error)) {
	r.unstage() // it is for a disk of this size
	r.settle()
	r.alone(func() {
		l := r.ledger
		at := l.tick()
		r.s.mu.Lock()
		line := uint32(r.s.nextLine())
		left := &mark{
			id: uint32(r.s.epoch), line: l.line, tags: l.current(), size: l.size,
			parent: l.head, at: at, keep: true, left: true,
		}
		r.s.mu.Unlock()
		l.turn = &turn{line: line, to: to, left: left}
		res, err := undo()
		if err == nil && res.Line == 0 {
			res, err = r.s.Rollback(context.Background(), to.id)
		}
		if r.refused(err, "rollback") {
			return
		}
		if res.To.ID != to.id || res.Left.ID != left.id || res.Line != line {
			r.must(fmt.Errorf("rollback to %d: %+v", to.id, res))
		}
		l.turn = nil
		l.become(to.tags, at)
		l.marks = append(l.marks, left)
		l.head, l.line = to, line
		l.size, l.other = to.size, to.size
		l.synced(l.tick())
	})
	r.peek()
}

// delete deletes a random point, or is refused.
func (r *rig) delete() {
	l := r.ledger
	ms := l.alive()
	if len(ms) == 0 {
		return
	}
	m := ms[r.rng.IntN(len(ms))]
	if !m.retired && !m.left && m.line == l.line || r.viewed(m) {
		if err := r.s.Delete(context.Background(), m.id); err == nil {
			r.must(fmt.Errorf("point %d was deleted, which is not retired or is being read", m.id))
		}
		return
	}
	at := l.tick()
	m.gone = at
	if r.refused(r.s.Delete(context.Background(), m.id), "delete") {
		return
	}
	m.lost = at
	l.forget()
	l.synced(at)
	r.peek()
}

// resize changes the disk's length, while no request is in flight.
func (r *rig) resize() {
	r.untrack()
	r.unstage()
	r.settle()
	r.alone(func() {
		l := r.ledger
		size := (1 + r.rng.Int64N(r.most/sectorSize)) * sectorSize
		at := l.tick()
		first, n := int(size/sectorSize), int((cutOff(l.size, size)-size)/sectorSize)
		l.other = size
		if n > 0 {
			at = l.issue(first, n, 0)
		}
		if r.refused(r.s.Resize(context.Background(), size, true), "resize") {
			return
		}
		if n > 0 {
			l.report(first, n, at, nil)
		}
		l.size = size
		l.synced(l.tick())
	})
	r.peek()
}

// cutOff returns up to where a disk that is made shorter forgets what was there: up to its end,
// or, where whole blocks are cut off, to the end of the last.
func cutOff(before, after int64) int64 {
	whole := func(n int64) int64 { return (n + blockSize - 1) / blockSize }
	if whole(after) < whole(before) {
		return whole(before) * blockSize
	}
	return before
}

// look compares what one point shows with what it was.
func (r *rig) look() {
	ms := r.ledger.alive()
	if len(ms) == 0 {
		return
	}
	r.alone(func() {
		if err := ms[r.rng.IntN(len(ms))].show(r.s); !r.faulty {
			r.must(err)
		}
	})
}

// openView is a view that stays open while the store goes on.
type openView struct {
	*View
	of *mark
}

func (r *rig) viewed(m *mark) bool {
	for _, v := range r.views {
		if v.of == m {
			return true
		}
	}
	return false
}

// watchPoint opens a view of a point, or judges one that was opened before.
func (r *rig) watchPoint() {
	if len(r.views) > 1 {
		r.closeViews()
		return
	}
	ms := r.ledger.alive()
	if len(ms) == 0 || r.faulty {
		return
	}
	m := ms[r.rng.IntN(len(ms))]
	r.alone(func() {
		v, err := r.s.View(m.id)
		r.must(err)
		r.views = append(r.views, openView{v, m})
	})
}

func (r *rig) closeViews() {
	r.alone(func() {
		for _, v := range r.views {
			p := make([]byte, v.Size())
			_, err := v.ReadAt(p, 0)
			r.must(err)
			seen, err := readTags(p)
			r.must(err)
			r.must(sameTags(seen, v.of.tags, fmt.Sprintf("view of point %d", v.of.id)))
			r.must(v.Close())
		}
	})
	r.views = nil
}
