package checkpoint

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// work is a request on its way through a lane. A long request goes through window by window, so
// that what it takes at a time is bounded.
type work struct {
	req  *bio.Request
	next *work // the list it is in
	tag  uint32

	phase phase
	err   error
	ops   int    // operations in flight
	since uint64 // when the device got the first of them; 0: it has none
	alone bool   // retried: shares no operation with others

	upTo position // of a flush that waits to count: how far it got; 0: it does not

	off, end    int64         // the window, in bytes of the disk
	first, last block         // the blocks that the window covers whole: [first, last)
	vec         []unix.Iovec  // the window's data, in pieces
	own         []unix.Iovec  // storage for vec where it is not the request's own
	bounced     bool          // the device does not see vec but the lane's buffer
	small       bool          // part of a batch that may have an intent
	buf         [1]unix.Iovec // that buffer, from the start of the window's first block

	reading bool
	gen     uint64 // while reading: the generation entered in limbo

	head, tail edge
	placed     []placement
	sums       []uint32 // of placed, in order; only with payload checksums
	pledge     *pledge  // the intent that names placed, or nil
}

// phase says what a work waits for.
type phase uint8

const (
	phaseRead   phase = iota + 1 // data on its way to the guest
	phaseMerge                   // old content of blocks that are written in part
	phasePlace                   // data on its way to fresh slots
	phaseCommit                  // its turn to enter journal and map
	phaseSync                    // a quick flush
)

// placement says where blocks of a window go.
type placement struct {
	block block
	slot  slot
	n     uint64
}

// edge is a block of which a window covers only a part: its old content is read, merged and
// written whole. was is what the map said then; if it says something else at the commit, another
// write came between and the merge is done again.
type edge struct {
	used   bool
	block  block
	lo, hi int // bytes of the block that the window covers
	was    entry
	buf    []byte
}

// touched returns the first block that the window touches and the one behind the last.
func (w *work) touched() (block, block) {
	return block(w.off / blockSize), block((w.end + blockSize - 1) / blockSize)
}

// data returns the pieces that the device sees, and the byte of the disk that they begin at.
func (w *work) data() ([]unix.Iovec, int64) {
	if w.bounced {
		return w.buf[:], w.off &^ (blockSize - 1)
	}
	return w.vec, w.off
}

// edges calls fn for each edge in use.
func (w *work) edges(fn func(*edge)) {
	if w.head.used {
		fn(&w.head)
	}
	if w.tail.used {
		fn(&w.tail)
	}
}

// workList is a queue of works.
type workList struct {
	first, last *work
	n           int
}

func (q *workList) push(w *work) {
	w.next = nil
	if q.first == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.n++
}

func (q *workList) pop() *work {
	w := q.first
	if w != nil {
		q.first, w.next = w.next, nil
		q.n--
	}
	return w
}

// append moves all that another queue holds to the end of this one.
func (q *workList) append(other workList) {
	for w := other.pop(); w != nil; w = other.pop() {
		q.push(w)
	}
}

// takeAll empties the queue and returns what it held.
func (q *workList) takeAll() workList {
	all := *q
	*q = workList{}
	return all
}

// touches reports whether a work in the queue changes a block that w merged with its old content.
func (q *workList) touches(w *work) bool {
	hit := false
	w.edges(func(e *edge) {
		for r := q.first; r != nil; r = r.next {
			first, last := r.touched()
			hit = hit || first <= e.block && e.block < last
		}
	})
	return hit
}

// appendVectors appends the pieces of src that hold n bytes from byte skip on.
func appendVectors(dst, src []unix.Iovec, skip, n int64) []unix.Iovec {
	for _, v := range src {
		size := int64(v.Len)
		if skip >= size {
			skip -= size
			continue
		}
		take := min(size-skip, n)
		if take == 0 {
			break
		}
		dst = append(dst, unix.Iovec{Base: (*byte)(unsafe.Add(unsafe.Pointer(v.Base), skip)), Len: uint64(take)})
		skip, n = 0, n-take
	}
	return dst
}

// vectorOf returns the one piece that is p.
func vectorOf(p []byte) unix.Iovec {
	return unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
}

// aligned reports whether every piece starts and ends on a multiple of align (a power of two).
func aligned(vec []unix.Iovec, align uint64) bool {
	var bits uint64
	for _, v := range vec {
		bits |= uint64(uintptr(unsafe.Pointer(v.Base))) | v.Len
	}
	return bits&(align-1) == 0
}
