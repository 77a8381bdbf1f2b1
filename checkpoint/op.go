package checkpoint

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// op is one operation of a lane: a piece of a read, or a write of neighbouring slots for one or
// several works. Ops are recycled and never freed.
type op struct {
	index uint32
	kind  opKind
	vec   []unix.Iovec
	fd    int
	off   int64 // byte in the file
	bytes int64
	works []*work
	sums  []uint32 // what the blocks read must have, with payload checksums

	pledge *pledge  // of an opIntent
	upTo   position // of an opSync: what it covers
}

type opKind uint8

const (
	opRead opKind = iota + 1
	opWrite
	opBase // a read from the base image
	opZero // a place that reads as zeroes
	opIntent
	opSync // of the data area
)

// newOp returns an operation for w, planned but not started.
func (l *lane) newOp(kind opKind, w *work) *op {
	var o *op
	if k := len(l.idle); k > 0 {
		o, l.idle = l.idle[k-1], l.idle[:k-1]
	} else {
		o = &op{index: uint32(len(l.ops))}
		l.ops = append(l.ops, o)
	}
	o.kind, o.vec, o.works, o.sums, o.bytes = kind, o.vec[:0], append(o.works[:0], w), o.sums[:0], 0
	w.ops++
	l.out = append(l.out, o)
	return o
}

// launch starts what was planned. The store's mutex is not held, because zeroes are written into
// guest memory here.
func (l *lane) launch() {
	l.handOver()
	for _, o := range l.out {
		tag := bio.LaneTag | uint64(o.index)
		switch o.kind {
		case opRead:
			l.eng.Readv(o.fd, o.vec, o.off, tag)
		case opWrite:
			l.eng.Writev(o.fd, o.vec, o.off, tag)
		case opIntent:
			l.seal(o)
			l.eng.Writev(o.fd, o.vec, o.off, tag)
		case opSync:
			l.eng.Fdatasync(o.fd, tag)
		case opBase:
			l.s.base.start(l, o, tag)
		case opZero:
			l.over(o, zeroOut(o.vec, 0, o.bytes))
		}
	}
	l.out, l.sync = l.out[:0], nil
}

// landed judges an engine's completion.
func (l *lane) landed(o *op, res int32) {
	switch {
	case o.kind == opSync:
		l.synced(o, res)
	case res < 0:
		l.over(o, l.opError(o, syscall.Errno(-res)))
	case o.kind == opBase && int64(res) < o.bytes && o.off+int64(res) == l.s.base.size:
		l.over(o, zeroOut(o.vec, int64(res), o.bytes-int64(res))) // the base ends here
	case int64(res) != o.bytes:
		l.over(o, l.opError(o, errShort))
	default:
		l.over(o, nil)
	}
}

var errShort = errors.New("fewer bytes moved than asked for")

// opError says what failed and where.
func (l *lane) opError(o *op, cause error) error {
	switch {
	case errors.Is(cause, unix.EFAULT):
		return bio.ErrFault
	case errors.Is(cause, unix.ENOSPC), errors.Is(cause, unix.EDQUOT):
		return bio.ErrNoSpace
	}
	what := "data: read"
	switch o.kind {
	case opWrite, opIntent:
		what = "data: write"
	case opBase:
		what = "base image: read"
	}
	return fmt.Errorf("%s of %d bytes at byte %d: %w", what, o.bytes, o.off, cause)
}

// over ends an operation that moved data.
func (l *lane) over(o *op, err error) {
	if err == nil && len(o.sums) > 0 {
		err = l.s.verify(o)
	}
	switch { // the guest learns only that it failed
	case err == nil, errors.Is(err, bio.ErrFault):
	case errors.Is(err, bio.ErrNoSpace):
		l.s.background.report(faultWrite, err)
	default:
		l.s.background.report(faultDamage, err)
	}
	if o.kind == opIntent && err != nil {
		l.unpledged(o.pledge)
		err = nil // their data has operations of its own
	}
	l.done(o, err)
}

// done moves on the works that waited only for an operation.
func (l *lane) done(o *op, err error) {
	for _, w := range o.works {
		if err != nil && w.err == nil {
			w.err = err
		}
		if w.ops--; w.ops == 0 {
			l.handedBack(w)
			l.arrived.push(w)
		}
	}
	l.idle = append(l.idle, o)
}
