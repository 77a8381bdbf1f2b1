// Package witness is the third vote of a mirrored pair: it decides which partner serves when the two
// cannot ask each other.
//
// It keeps one number for each pair, the generation, and who won it. A generation is won once: by
// comparing and swapping, so that of two partners who both find the other one gone, one wins and
// the other learns that it lost. Beside it the winner may hold a lease; while that lasts, nobody
// else wins, whatever he knows.
//
// # Who may serve
//
// A primary serves as long as one of two others is bound not to let anybody else: the secondary by
// its promise (package mirror), or the witness by the lease. When both ran out it stops serving, and
// asks the witness. A secondary that takes over first waits for what it promised itself, then wins
// the next generation here. So a pair that is protected needs no lease, and a takeover then need
// not wait for one; a primary that goes on alone wins a generation first, after which the partner
// it left behind cannot. In the words of package colo, of a pair that was made in generation g: to
// claim the pair is Claim(g-1), to be alone and to take over both are Claim(g), of which one is
// granted.
//
// # Times
//
// Win and Hold return for how long the lease is good. That counts from before the call, on a clock
// that goes on while the host sleeps: the witness counts from later, so its lease ends after what
// the holder takes it for.
package witness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// State is what the witness knows of a pair.
type State struct {
	Generation uint64
	Winner     string // who won it
	Holder     string // who holds the lease now; empty: nobody
}

// Witness is asked by one partner of one pair. Its methods may be called by several goroutines. An
// error that is none of this package's says nothing of what became of the call: ask again.
type Witness interface {
	// State reads. ErrUnknownPair: nobody registered it.
	State(ctx context.Context) (State, error)

	// Register makes the pair known with a generation that this side won before there was a witness,
	// or zero. A pair that is known stays as it is: ErrSuperseded, if it is of another generation or
	// another winner.
	Register(ctx context.Context, generation uint64) error

	// Claim makes the generation after from this side's, if it is from. State then tells which that is: the
	// next number, but see Manual. Having won it already counts as
	// winning: the answer to an earlier call may have been lost.
	// ErrSuperseded: somebody else won one. ErrHeld: the lease is another's, and the generation is from.
	Claim(ctx context.Context, from uint64) error

	// Win is Claim, and takes the lease at the same stroke.
	Win(ctx context.Context, from uint64) (lease time.Duration, err error)

	// Hold takes or extends the lease for a generation that this side won. Errors as Claim's.
	Hold(ctx context.Context, generation uint64) (lease time.Duration, err error)

	// Resign lets go of the lease, so that the partner can win at once. The generation stays.
	Resign(ctx context.Context) error

	// Close lets go of connections; the lease, if there is one, runs out.
	Close() error
}

var (
	// ErrUnknownPair is for a pair that nobody registered, or a witness that forgot everything.
	ErrUnknownPair = errors.New("the witness does not know the pair")
	// ErrSuperseded is for a generation that somebody else won: this side must not serve.
	ErrSuperseded = errors.New("another generation was won")
	// ErrHeld is for a lease that is the partner's: it may still serve.
	ErrHeld = errors.New("the partner holds the lease")
	// ErrUndecided is for a decision that only the operator can take.
	ErrUndecided = errors.New("the operator has not decided")
	// ErrUnreachable is for a witness that does not answer: it may have done what was asked, or not.
	ErrUnreachable = errors.New("the witness cannot be reached")
)

// Forever is a lease that does not run out.
const Forever = 100 * 365 * 24 * time.Hour

// judge compares what is with what a caller believes.
func judge(s State, self string, generation uint64) error {
	switch {
	case s.Generation != generation || s.Winner != self && s.Winner != "":
		return fmt.Errorf("%w: %d by %q, not %d", ErrSuperseded, s.Generation, s.Winner, generation)
	case s.Holder != "" && s.Holder != self:
		return fmt.Errorf("%w: %q", ErrHeld, s.Holder)
	}
	return nil
}

// judgeWin says whether self may win the generation after from, or has won it already.
func judgeWin(s State, self string, from uint64) (won bool, err error) {
	if s.Generation == from+1 && s.Winner == self {
		return true, judge(s, self, from+1)
	}
	s.Winner = "" // whoever it was
	return false, judge(s, self, from)
}
