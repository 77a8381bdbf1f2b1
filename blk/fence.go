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
	// Pass returns when completions may be shown to the guest, or false if never again. It is asked
	// for every batch.
	Pass() bool
	// Failed is told why the store could not do a request, before the guest is: when it returns, the
	// guest gets the error.
	Failed(err error)
}

// mayPublish asks the fence, if there is one.
func (l *loop) mayPublish() bool {
	f := l.dev.opts.Fence
	if f == nil || f.Pass() {
		return true
	}
	if l.ringErr == nil {
		l.ringErr = ErrFenced
	}
	l.records = l.records[:0]
	return false
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
