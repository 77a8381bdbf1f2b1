package blk

import (
	"errors"

	"github.com/belay-vm/belay/internal/bio"
)

// ErrFenced is the error of a ring whose completions must not be shown to the guest any more.
var ErrFenced = errors.New("fenced off: another server may have taken over")

// Fence stands between a device and its guest where another server may take over. Workers call it
// and are held up for as long as it takes; then nothing of their ring moves.
type Fence interface {
	// Pass says whether completions may be shown to the guest. It is asked for every batch, and waits
	// until it knows; if that takes too long and mayLeave says that the ring is to end or to be still, the
	// answer may be Later.
	Pass(mayLeave func() bool) Verdict
	// Look has those who wait in Pass ask mayLeave again.
	Look()
	// Failed is told why the store could not do a request, before the guest is: when it returns, the
	// guest gets the error.
	Failed(err error)
}

// Verdict is a fence's answer.
type Verdict int

// What is to be done with completions.
const (
	Show  Verdict = iota // the guest may see them
	Never                // not any more
	Later                // not now: they stay in flight, and the ring ends, or is still, with them
)

// mayPublish asks the fence, if there is one.
func (l *loop) mayPublish() bool {
	f := l.dev.opts.Fence
	if f == nil {
		return true
	}
	switch f.Pass(l.leave) {
	case Show:
		return true
	case Never:
		if l.ringErr == nil {
			l.ringErr = ErrFenced
		}
		l.completed = false
		l.records = l.records[:0]
	case Later: // what was completed is kept
	}
	return false
}

// mayLeave says whether completions may be kept back: of a ring that is only still they are shown
// afterwards; of one that ends, if the front end has a region to note what is in flight.
func (l *loop) mayLeave() bool {
	return l.dev.pauses.on.Load() || l.q.Stopping() && l.q.Kept()
}

// failed tells the fence of an error that is not the guest's own.
func (l *loop) failed(err error) {
	f := l.dev.opts.Fence
	if f == nil || err == nil || errors.Is(err, bio.ErrRange) || errors.Is(err, bio.ErrReadOnly) ||
		errors.Is(err, bio.ErrFault) {
		return
	}
	f.Failed(err)
}
