package sim

import (
	"time"

	"github.com/belay-vm/belay/colo"
)

// The most that a VM of the simulation has.
const (
	maxDisks  = 2
	maxQueues = 2
	depth     = 3
)

// Blocks is how many blocks of a real disk the guest writes to.
const Blocks = 48

// Bits of requests to real disks.
const (
	flushBit = 1 << iota // no write: make durable what was written
	zeroBits = 3 << iota // both set: write zeroes
	tagShift = iota + 1
)

// meaning is what a request asks for.
func (w *world) meaning(tag uint64) (flush bool, block int) {
	return w.sides != nil && tag&flushBit != 0, int(tag >> tagShift % Blocks)
}

// Shows is what a block reads as after a write.
func Shows(tag uint64) uint64 {
	if tag&zeroBits == zeroBits {
		return 0
	}
	return tag
}

// vring is a ring in the guest's memory.
type vring struct {
	setup uint64 // of its driver; a new one each time
	used  uint64 // requests completed
	sum   uint64 // of what was completed, in order
	n     int
	wants [depth]uint64 // requests that the guest waits for
}

// memory is all that a checkpoint carries.
type memory struct {
	line   uint64           // the newest checkpoint in it
	expect [maxDisks]uint64 // what the guest knows to be on its disks
	ready  [maxDisks]bool   // the driver has started the device

	// With real disks: what it knows of each block, what it knew when it asked for the last flush, and what
	// a power cut must not take.
	blocks, asked, safe [maxDisks][Blocks]uint64
	flushing            [maxDisks]bool
	ring                [maxDisks][maxQueues]vring
}

// mix spreads a number over 64 bits.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *vring) digest() colo.Digest { return colo.Digest(mix(r.setup ^ mix(r.used^mix(r.sum)))) }

func (r *vring) fresh() bool { return r.used == 0 }

// ask puts a request into the ring, if there is room.
func (r *vring) ask(w uint64) bool {
	if r.n == depth {
		return false
	}
	r.wants[r.n] = w
	r.n++
	return true
}

// complete takes it out.
func (r *vring) complete(w uint64) bool {
	for i := range r.n {
		if r.wants[i] == w {
			copy(r.wants[i:r.n], r.wants[i+1:r.n])
			r.n--
			r.used++
			r.sum = mix(r.sum ^ w)
			return true
		}
	}
	return false
}

// tick lets the guest write now and then while it runs.
func (q *qemu) tick(life int) {
	q.after(q.between(50*time.Microsecond, 3*time.Millisecond), func() {
		if !q.alive || !q.running || q.life != life {
			return
		}
		q.ticks++
		d, i := q.rng.IntN(q.disks), q.rng.IntN(q.queues)
		if q.mem.ready[d] {
			if q.ask(d, i) {
				r := colo.Ring{Disk: d, Queue: i}
				b := q.backend
				q.after(q.between(time.Microsecond, 50*time.Microsecond), func() { b.pump(r) })
			}
		}
		q.tick(life)
	})
}

// ask has the guest ask for something. Of a block with a write under way it asks nothing: nobody could
// say what the disk must hold then.
func (q *qemu) ask(d, i int) bool {
	q.writes++
	tag := mix(q.writes)
	if q.sides == nil {
		return q.mem.ring[d][i].ask(tag)
	}
	if tag &^= flushBit; q.rng.IntN(8) == 0 && !q.mem.flushing[d] {
		tag |= flushBit
	}
	flush, block := q.meaning(tag)
	if !flush && q.busy(d, block) || !q.mem.ring[d][i].ask(tag) {
		return false
	}
	if flush {
		q.mem.asked[d], q.mem.flushing[d] = q.mem.blocks[d], true
	} else {
		q.before[tag] = q.mem.blocks[d][block]
	}
	return true
}

// busy says whether a write of a block is under way.
func (q *qemu) busy(d, block int) bool {
	for i := range q.queues {
		r := &q.mem.ring[d][i]
		for _, tag := range r.wants[:r.n] {
			if flush, b := q.meaning(tag); !flush && b == block {
				return true
			}
		}
	}
	return false
}

// mischief lets the guest take its drivers off and put them on again, and reset itself, now and then.
func (q *qemu) mischief() {
	q.after(q.between(5*time.Millisecond, 300*time.Millisecond), func() {
		if !q.alive {
			return
		}
		d := q.rng.IntN(q.disks)
		switch {
		case q.chance(0.2):
			q.trick = q.reset
		case q.mem.ready[d]:
			q.trick = func() error { return q.unbind(d) }
		default:
			q.trick = func() error { q.bind(d); return nil }
		}
		q.main.wake()
		q.mischief()
	})
}

func (q *qemu) trickDue() bool { return q.trick != nil && q.running }

func (q *qemu) doTrick() error {
	if !q.trickDue() {
		return nil
	}
	do := q.trick
	q.trick = nil
	return do()
}

// unbind stops the device without stopping the VM. The driver waits for its requests first.
func (q *qemu) unbind(d int) error {
	if !q.mem.ready[d] || !q.idle(d) {
		return nil
	}
	q.mem.ready[d] = false
	q.tracef("%s's guest unbinds disk %d", q.name, d)
	if !q.started[d] {
		return nil
	}
	return q.stopDisk(d)
}

func (q *qemu) idle(d int) bool {
	for i := range q.queues {
		if q.mem.ring[d][i].n > 0 {
			return false
		}
	}
	return true
}

// bind sets the rings up anew.
func (q *qemu) bind(d int) {
	if q.mem.ready[d] || q.started[d] {
		return
	}
	q.tracef("%s's guest binds disk %d", q.name, d)
	for i := range q.queues {
		q.mem.ring[d][i] = vring{setup: q.rng.Uint64()}
	}
	q.mem.ready[d] = true
	q.startDisk(d)
}

// reset stops all devices; what the guest had asked for is forgotten. Its firmware starts them again.
func (q *qemu) reset() error {
	q.tracef("%s's guest resets", q.name)
	for d := range q.disks {
		q.mem.ready[d] = false
		if q.started[d] {
			if err := q.stopDisk(d); err != nil {
				return err
			}
		}
		for i := range q.queues {
			q.mem.ring[d][i].n = 0
		}
		q.mem.flushing[d] = false
	}
	q.emit(colo.Reset{})
	return nil
}
