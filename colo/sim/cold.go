package sim

import (
	"fmt"
	"time"

	"github.com/belay-vm/belay/colo"
)

// coldStart is after both hosts lost their power: whichever side the programs let serve begins with a new
// guest, on a disk as a power cut of the old guest's machine could have left it.
func (w *world) coldStart() bool {
	served, other := w.p, w.s
	if w.s.serving {
		served, other = other, served
	}
	order := []*backend{served, other}
	if w.protectedAt != 0 && w.chance(0.5) { // the operator may begin with the wrong one
		order = []*backend{other, served}
	}
	started, why := (*backend)(nil), ""
	for _, old := range order {
		if old == other && w.protectedAt == 0 && !other.serving {
			continue // it never had the guest, and nobody would take it for the one that had
		}
		b := w.newHost("p")
		side, err := w.sides.Cold(&Host{b}, old.side)
		if err != nil {
			b.dead, b.qemu.alive = true, false
			why += fmt.Sprintf("; %s: %v", old.name, err)
			continue
		}
		b.side = side
		if started != nil {
			w.failf("both sides start after a power cut (%v)", started)
		}
		started = b
		w.begin(b, old, old == served)
		w.calm()
	}
	if started == nil {
		if !w.sides.Winner(other.side) {
			w.failf("no side starts after a power cut%s", why)
		}
		w.counts["cold starts that need the operator"]++
		return false
	}
	w.counts["cold starts"]++
	w.p = started
	return !w.failed()
}

// restart kills the program of a guest that is served alone, and starts it again: QEMU connects to the new
// one and asks once more for what it waits for.
func (w *world) restart() {
	old, q := w.p, w.p.qemu
	w.counts["restarts alone"]++
	w.tracef("%s is restarted", old.name)
	old.side.Die(false)
	old.dead = true
	b := w.newBackend("p")
	b.qemu, b.peer, b.boot, b.taken = q, old.peer, old.boot, map[uint64]bool{}
	for tag := range old.taken {
		b.taken[tag] = true
	}
	for d := range w.disks {
		for i := range w.queues {
			for _, r := range old.ring[d][i].inflight {
				b.taken[r.w] = true
			}
		}
	}
	side, err := w.sides.Cold(&Host{b}, old.side)
	if err != nil {
		w.failf("%s cannot be started again: %v", old.name, err)
		return
	}
	b.side, q.backend, w.p = side, b, b
	for d := range w.disks {
		for i := range w.queues {
			if q.started[d] {
				q.vhost.send(func() { b.started(colo.Ring{Disk: d, Queue: i}) })
			}
		}
	}
	w.runUntil(w.now+w.between(0, 20*time.Millisecond), w.failed)
}

// begin boots a new guest on what the old one left.
func (w *world) begin(b, old *backend, served bool) {
	if !served && !w.sides.Winner(old.side) {
		w.failf("%s starts after a power cut, but the other one served last", old.name)
	}
	w.spare = old.peer.side
	q := b.qemu
	for d := range w.disks {
		blocks, err := w.sides.Content(b.side, d)
		if err != nil {
			w.failf("after a power cut: disk %d: %v", d, err)
			return
		}
		for block, tag := range blocks {
			if served && !w.survives(&old.qemu.mem, d, block, tag) {
				w.failf("after a power cut: disk %d block %d holds %x, of %x, safe is %x", d, block, tag,
					old.qemu.mem.blocks[d][block], old.qemu.mem.safe[d][block])
			}
		}
		q.mem.blocks[d], q.mem.safe[d] = blocks, blocks
		q.bindFirst(d)
	}
	q.main = w.spawn(q.runPrimary)
}

// survives says whether a guest's block may hold a write after its machine lost its power: the newest that
// was flushed, or any later one.
func (w *world) survives(m *memory, d, block int, tag uint64) bool {
	for i := range w.queues {
		r := &m.ring[d][i]
		for _, want := range r.wants[:r.n] {
			if flush, b := w.meaning(want); !flush && b == block && Shows(want) == tag {
				return true
			}
		}
	}
	for t := m.blocks[d][block]; ; t = w.before[t] {
		switch {
		case Shows(t) == tag:
			return true
		case t == m.safe[d][block] || t == 0:
			return false
		}
	}
}
