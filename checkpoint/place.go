package checkpoint

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

const maxVectors = bio.MaxVectors

// placeAll gives slots to everything that waits for them. What arrived together lies side by side,
// so that random writes of the guest become few sequential writes to the device. A store that has stopped
// writes no more: what was merged may come from pages that the kernel has dropped. The store's mutex is
// held.
func (l *lane) placeAll() {
	var o *op
	l.placing = l.placing[:0]
	waiting, stopped := l.place.takeAll(), l.s.poisoned()
	for w := waiting.pop(); w != nil; w = waiting.pop() {
		if stopped != nil {
			w.phase, w.err, w.alone = phasePlace, stopped, true
			l.arrived.push(w)
			continue
		}
		if !l.secure(l.need(w)) {
			l.quit(w) // what it waits for may be what it keeps from being freed
			l.parked.push(w)
			l.s.wantSpace()
			continue
		}
		w.phase = phasePlace
		if w.alone {
			o = nil
		}
		o = l.placeWork(w, o)
		if w.alone {
			o = nil
		}
		l.placing = append(l.placing, w)
	}
	if len(l.placing) > 0 {
		l.pledge(l.placing)
	}
}

// need returns how many slots a window takes.
func (l *lane) need(w *work) uint64 {
	var n uint64
	if w.req.Op == bio.Write && w.last > w.first {
		n = uint64(w.last - w.first)
	}
	w.edges(func(*edge) { n++ })
	return n
}

// placeWork puts a window's blocks behind what operation o writes already, and returns the last
// operation it used.
func (l *lane) placeWork(w *work, o *op) *op {
	data, start := w.data()
	if w.head.used {
		o = l.put(w, o, w.head.block, 1, []unix.Iovec{vectorOf(w.head.buf)}, 0)
	}
	if w.req.Op == bio.Write && w.last > w.first {
		o = l.put(w, o, w.first, uint64(w.last-w.first), data, int64(w.first)*blockSize-start)
	}
	if w.tail.used {
		o = l.put(w, o, w.tail.block, 1, []unix.Iovec{vectorOf(w.tail.buf)}, 0)
	}
	return o
}

// put writes n blocks from b, whose data begins at byte skip of vec, to the lane's next slots.
func (l *lane) put(w *work, o *op, b block, n uint64, vec []unix.Iovec, skip int64) *op {
	for n > 0 {
		x := l.take(n)
		w.placed = append(w.placed, placement{b, x.first, x.n})
		l.sum(w, vec, skip, x.n)
		for k := uint64(0); k < x.n; {
			at := int64(x.first+slot(k)) * blockSize
			if !l.fits(o, at) {
				o = l.newOp(opWrite, w)
				o.fd, o.off = l.s.data.Fd(), at
			} else if o.works[len(o.works)-1] != w {
				o.works = append(o.works, w)
				w.ops++
			}
			size := min(int64(x.n-k)*blockSize, writeBytes-o.bytes)
			size = appendBlocks(o, vec, skip, size)
			o.bytes += size
			skip += size
			k += uint64(size / blockSize)
		}
		b, n = b+block(x.n), n-x.n
	}
	return o
}

// blockVectors is the most pieces that a block can have: they are multiples of a sector.
const blockVectors = blockSize / sectorSize

// fits reports whether operation o can go on with at least one block at byte at of the file.
func (l *lane) fits(o *op, at int64) bool {
	return o != nil && o.off+o.bytes == at && o.bytes < writeBytes && len(o.vec)+blockVectors <= maxVectors
}

// appendBlocks adds up to size bytes from byte skip of vec to an operation, in whole blocks and
// as many as it takes, but at least one. It returns how many bytes those are.
func appendBlocks(o *op, vec []unix.Iovec, skip, size int64) int64 {
	before := len(o.vec)
	o.vec = appendVectors(o.vec, vec, skip, size)
	if len(o.vec) <= maxVectors {
		return size
	}
	fit := bytesOf(o.vec[before:maxVectors]) &^ (blockSize - 1)
	o.vec = appendVectors(o.vec[:before], vec, skip, fit)
	return fit
}

// bytesOf returns the length of a list of pieces.
func bytesOf(vec []unix.Iovec) int64 {
	var n int64
	for _, v := range vec {
		n += int64(v.Len)
	}
	return n
}

// sum computes the payload checksums of n blocks. Their data lies in a buffer of the lane's own.
func (l *lane) sum(w *work, vec []unix.Iovec, skip int64, n uint64) {
	if l.s.sums == nil {
		return
	}
	p := unsafe.Slice(vec[0].Base, vec[0].Len)[skip:]
	for i := range n {
		w.sums = append(w.sums, payloadSum(p[i*blockSize:(i+1)*blockSize]))
	}
}

// placedAll goes on with a window whose data is in place. If an operation failed, its works try
// again each by itself on other slots, so that one bad buffer or sector fails one request.
func (l *lane) placedAll(w *work) {
	if w.err == nil {
		l.commit.push(w)
		return
	}
	l.s.mu.Lock()
	l.giveBack(w)
	l.s.mu.Unlock()
	if w.alone {
		l.leave(w)
		l.advance(w)
		return
	}
	w.alone, w.err = true, nil
	l.place.push(w)
}

// giveBack frees slots that were taken for a window and are not in use. (An intent may go on
// naming them: whatever is written to them does not have its checksum.)
func (l *lane) giveBack(w *work) {
	l.unbind(w)
	for _, p := range w.placed {
		l.s.slots.release(extent{p.slot, p.n})
	}
	w.placed, w.sums = w.placed[:0], w.sums[:0]
}

// secure makes sure that the lane holds n free slots.
func (l *lane) secure(n uint64) bool {
	for l.free < n {
		k := len(l.region)
		got, err := l.s.slots.reserve(max(n-l.free, l.s.tuning.regionSlots), l.region)
		l.region = got
		for _, x := range got[k:] {
			l.free += x.n
		}
		if err != nil {
			l.s.background.report(faultDamage, err)
			return false
		}
		if len(got) == k {
			return false
		}
		l.s.keepRoom()
	}
	return true
}

// take removes up to n slots that lie side by side from the lane's region.
func (l *lane) take(n uint64) extent {
	x := &l.region[0]
	taken := extent{x.first, min(n, x.n)}
	x.first += slot(taken.n)
	x.n -= taken.n
	l.free -= taken.n
	if x.n == 0 {
		l.region = append(l.region[:0], l.region[1:]...)
	}
	return taken
}
