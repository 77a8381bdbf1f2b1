package checkpoint

import "github.com/belay-vm/belay/internal/bio"

// planWrite finds the blocks of a window that are covered in part only, and plans the reading of
// what they hold. The store's mutex is held.
func (l *lane) planWrite(w *work) {
	l.findEdges(w)
	if !w.head.used && !w.tail.used {
		l.ready(w)
		return
	}
	w.phase = phaseMerge
	l.enter(w)
	w.edges(func(e *edge) {
		if err := l.s.ensureRead(e.block, 1); err != nil && w.err == nil {
			w.err = err
		}
	})
	if w.err != nil {
		l.arrived.push(w)
		return
	}
	w.edges(func(e *edge) {
		e.was, _ = l.s.blocks.run(e.block, 1)
		at := int64(e.block) * blockSize
		o := l.newOp(opRead, w)
		o.vec, o.bytes = append(o.vec, vectorOf(e.buf)), blockSize
		l.aim(o, stretch{block: e.block, entry: e.was}, at)
	})
}

// findEdges splits a window into whole blocks and edges. A discard has no edges: what it covers
// in part stays (the guest asked for no more than a hint).
func (l *lane) findEdges(w *work) {
	first, last := w.touched()
	in, out := int(w.off%blockSize), int(w.end%blockSize)
	w.head.used = in != 0 || out != 0 && last-first == 1
	w.tail.used = out != 0 && last-first > 1
	w.first, w.last = first, last
	if w.head.used {
		w.first++
		w.head.block, w.head.lo, w.head.hi = first, in, blockSize
		if last-first == 1 && out != 0 {
			w.head.hi = out
		}
	}
	if w.tail.used {
		w.last--
		w.tail.block, w.tail.lo, w.tail.hi = last-1, 0, out
	}
	if w.req.Op == bio.Discard {
		w.head.used, w.tail.used = false, false
	}
}

// merge puts the guest's bytes over the old content of the edges. The work goes on counting as a
// reader until it is committed: the slots that it merged must not come back meanwhile, with other
// content, as what the map says (current would take them for unchanged).
func (l *lane) merge(w *work) {
	if w.err == nil {
		w.edges(func(e *edge) {
			if err := l.overlay(w, e); err != nil {
				w.err = err
			}
		})
	}
	if w.err != nil {
		l.leave(w)
		l.advance(w)
		return
	}
	l.ready(w)
}

func (l *lane) overlay(w *work, e *edge) error {
	covered := e.buf[e.lo:e.hi]
	if w.req.Op == bio.WriteZeroes {
		clear(covered)
		return nil
	}
	data, start := w.data()
	return copyIn(covered, data, int64(e.block)*blockSize+int64(e.lo)-start)
}

// ready passes on a window that consists of whole blocks now: to be placed, or, where no data is
// written, to be committed.
func (l *lane) ready(w *work) {
	if w.req.Op == bio.Write || w.head.used || w.tail.used {
		l.place.push(w)
		return
	}
	l.commit.push(w)
}

// again sends a window back to where it began, because what it merged may be out of date. The
// store's mutex is held, or the work is no reader.
func (l *lane) again(w *work) {
	l.quit(w)
	w.end = w.off
	l.batch.push(w)
}

// current reports whether the edges still hold what was merged. The store's mutex is held.
func (l *lane) current(w *work) bool {
	same := true
	w.edges(func(e *edge) {
		now, _ := l.s.blocks.run(e.block, 1)
		same = same && now == e.was
	})
	return same
}
