package checkpoint

// planRead looks up where a window's data is and plans an operation for each stretch of slots
// that lie side by side. The store's mutex is held.
func (l *lane) planRead(w *work) {
	first, last := w.touched()
	if err := l.s.ensureRead(first, uint64(last-first)); err != nil {
		l.finish(w, err)
		return
	}
	w.phase = phaseRead
	l.enter(w)
	from, to := w.off, w.end
	if w.bounced { // whole blocks, so that length, place and checksum suit the device
		from, to = int64(first)*blockSize, int64(last)*blockSize
	}
	for at := from; at < to; {
		b := block(at / blockSize)
		e, n := l.s.blocks.run(b, uint64(last-b))
		end := min(int64(b+block(n))*blockSize, to)
		l.planStretch(w, stretch{block: b, entry: e, from: at, to: end})
		at = end
	}
}

// stretch is a range of the disk's bytes whose blocks lie side by side from entry on.
type stretch struct {
	block    block // the one that entry belongs to
	entry    entry
	from, to int64
}

// planStretch plans the operations that bring a stretch of the window into its data vectors:
// one, unless it has more pieces than an operation takes.
func (l *lane) planStretch(w *work, t stretch) {
	vec, start := w.data()
	for at := t.from; at < t.to; {
		o := l.newOp(opRead, w)
		o.vec = appendVectors(o.vec, vec, at-start, t.to-at)
		o.bytes = t.to - at
		if len(o.vec) > maxVectors {
			o.vec = o.vec[:maxVectors]
			o.bytes = bytesOf(o.vec)
		}
		l.aim(o, t, at)
		at += o.bytes
	}
}

// aim says where an operation that begins at byte at of the disk reads from.
func (l *lane) aim(o *op, t stretch, at int64) {
	s := l.s
	e := t.entry
	switch {
	case e.placed():
		o.fd, o.off = s.data.Fd(), at+(int64(e.slot())-int64(t.block))*blockSize
		if s.sums != nil {
			for i := range o.bytes / blockSize {
				o.sums = append(o.sums, s.sums.get(slot(o.off/blockSize+i)))
			}
		}
	case e == 0 || e.slot() == slotNone:
		if s.base.covers(at) {
			o.kind, o.off = opBase, at
			break
		}
		fallthrough
	default:
		o.kind = opZero
	}
}

// delivered ends a window whose data has come.
func (l *lane) delivered(w *work) {
	l.leave(w)
	if w.err == nil && w.bounced {
		w.err = copyOut(w.vec, 0, l.bounced(w))
	}
	l.advance(w)
}

// enter keeps the slots that the work is about to read from being reused. The store's mutex is
// held.
func (l *lane) enter(w *work) {
	w.reading, w.gen = true, l.s.limbo.enter()
}

// leave ends that; limbo is told at the next commit.
func (l *lane) leave(w *work) {
	if w.reading {
		w.reading = false
		l.leaves = append(l.leaves, w.gen)
	}
}

// quit is leave for those who hold the store's mutex.
func (l *lane) quit(w *work) {
	if w.reading {
		w.reading = false
		l.s.limbo.leave(w.gen)
	}
}
