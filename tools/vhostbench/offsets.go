package main

import (
	"math/bits"
	"math/rand/v2"
)

// offsets says where the requests of one queue go. Random ones go anywhere in the range; in
// order, each queue has a part of the range to itself and starts again at its end.
type offsets struct {
	first, blocks uint64 // in requests
	next          uint64 // of those in order
	seq           bool
	rand          *rand.PCG
}

func newOffsets(o *options, blocks uint64, queue int) offsets {
	at := offsets{blocks: blocks, seq: o.seq, rand: o.source(queue)}
	if o.seq || o.verify {
		from := blocks * uint64(queue) / uint64(o.queues)
		to := blocks * uint64(queue+1) / uint64(o.queues)
		at.first, at.blocks = from, to-from
	}
	return at
}

// take is the next place, counted in requests from the beginning of the disk.
func (a *offsets) take() uint64 {
	if !a.seq {
		return a.first + a.below(a.blocks)
	}
	at := a.first + a.next
	if a.next++; a.next == a.blocks {
		a.next = 0
	}
	return at
}

// below is a random number below n; its bias is far too small to be seen in a disk's load.
func (a *offsets) below(n uint64) uint64 {
	hi, _ := bits.Mul64(a.rand.Uint64(), n)
	return hi
}
