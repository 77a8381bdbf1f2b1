package checkpoint

import "github.com/belay-vm/belay/internal/bio"

// pledge is an intent of a lane on its way: it is drawn when its works get their slots, written
// beside their data, and open until the last of them is committed or gives its slots back.
type pledge struct {
	intent
	works  int    // that are neither committed nor given back
	failed bool   // it could not be written
	buf    []byte // a block of the lane's memory
}

// lanePledges is how many a lane can have open.
const lanePledges = 8

// mayPledge reports whether a batch, of which no window is set up yet, could have an intent. Its
// data is copied then: the checksum is taken of what the device gets, whatever the guest does.
func (l *lane) mayPledge(batch *workList) bool {
	if !l.s.intents.wanted.Load() {
		return false
	}
	blocks := int64(0)
	for w := batch.first; w != nil; w = w.next {
		if r := w.req; r.Op == bio.Write {
			end := r.Off + r.Len
			blocks += (end+blockSize-1)/blockSize - w.end/blockSize
		}
	}
	return blocks > 0 && blocks <= intentBlocks
}

// pledge plans an intent for the works that were given slots just now, if they can have one. Their
// operations are planned and not started. The store's mutex is held.
func (l *lane) pledge(works []*work) {
	l.s.intents.batched()
	k := len(l.pledges)
	if k == 0 || !l.s.intents.wanted.Load() {
		return
	}
	p := l.pledges[k-1]
	if !l.pledgeable(p, works) || !l.s.draw(p) {
		return
	}
	l.pledges = l.pledges[:k-1]
	p.works, p.failed = len(works), false
	o := l.newOp(opIntent, works[0])
	o.pledge, o.bytes = p, intentLen
	o.fd, o.off = l.s.data.Fd(), int64(l.s.intents.ring.at(p.number))*blockSize
	o.vec = append(o.vec, vectorOf(p.buf))
	for i, w := range works {
		w.pledge = p
		if i > 0 {
			o.works = append(o.works, w)
			w.ops++
		}
	}
}

// pledgeable collects what the works do. An intent must name each block once, and hold for them
// what they would commit if nothing came between: a merge that is out of date already is done
// again, and would, if it were recovered, put older content back.
func (l *lane) pledgeable(p *pledge, works []*work) bool {
	p.places = p.places[:0]
	blocks := uint64(0)
	for _, w := range works {
		if !w.small || w.alone || l.doubtful(w) {
			return false
		}
		for _, x := range w.placed {
			p.places = append(p.places, x)
			if blocks += x.n; blocks > intentBlocks || meet(p.places[:len(p.places)-1], p.places[len(p.places)-1:]) {
				return false
			}
		}
		if !l.mapped(w) || !l.current(w) {
			return false
		}
	}
	return blocks > 0
}

// doubtful reports whether a work may have merged what a sync that fails just now has dropped. An intent
// would make that be found again, with the right checksum. The store's mutex is held.
func (l *lane) doubtful(w *work) bool {
	return (w.head.used || w.tail.used) && (l.s.syncs.open > 0 || l.s.syncs.quick)
}

// mapped makes the map of the edges resident and reports whether it could.
func (l *lane) mapped(w *work) bool {
	ok := true
	w.edges(func(e *edge) { ok = ok && l.s.blocks.ensure(e.block, 1) == nil })
	return ok
}

// seal sums the data and makes the block that is written. The mutex is not held: everything lies in
// the lane's memory.
func (l *lane) seal(o *op) {
	p := o.pledge
	p.sums = p.sums[:0]
	for _, w := range o.works {
		if l.s.sums != nil {
			p.sums = append(p.sums, w.sums...)
			continue
		}
		if w.head.used {
			p.sums = append(p.sums, payloadSum(w.head.buf))
		}
		if w.last > w.first {
			data := l.bounce(w)[int64(w.first)*blockSize-w.off&^(blockSize-1):]
			for i := range int(w.last - w.first) {
				p.sums = append(p.sums, payloadSum(data[i*blockSize:(i+1)*blockSize]))
			}
		}
		if w.tail.used {
			p.sums = append(p.sums, payloadSum(w.tail.buf))
		}
	}
	p.encode(p.buf, l.s.intents.id, l.s.intents.ring.key)
}

// unpledged notes that an intent could not be written: its works need a full flush round. No more
// are drawn.
func (l *lane) unpledged(p *pledge) {
	p.failed = true
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.intents.off = true
	l.s.intents.wanted.Store(false)
}

// unbind takes a work off its intent. The store's mutex is held.
func (l *lane) unbind(w *work) {
	p := w.pledge
	if p == nil {
		return
	}
	w.pledge = nil
	if p.works--; p.works == 0 {
		l.s.intents.close(p)
		l.pledges = append(l.pledges, p)
	}
}
