package mirror

import (
	"errors"
	"fmt"
	"strconv"
)

// Why a peer is not accepted. Each has a code on the wire, so that both sides can say the same.
var (
	ErrNotMirror       = errors.New("the peer does not speak belay's mirror protocol")
	ErrVersion         = errors.New("no version of the mirror protocol in common")
	ErrWrongPeer       = errors.New("the peer belongs to another pair")
	ErrWrongVolume     = errors.New("the peer's disk is another one")
	ErrSize            = errors.New("the disks have different sizes")
	ErrRole            = errors.New("the roles do not fit together")
	ErrOlderGeneration = errors.New("older generation")
	ErrCertificate     = errors.New("certificate not accepted")
	ErrNotAdmitted     = errors.New("the peer cannot take part now")
)

// Why a session ends.
var (
	// ErrFormat is for bytes that are no frame, or a frame that says what it may not.
	ErrFormat = errors.New("malformed frame")
	// ErrChecksum is for bytes that changed on their way.
	ErrChecksum = errors.New("wrong checksum")
	// ErrSequence is for frames that got lost, doubled or out of order.
	ErrSequence = errors.New("frame out of order")
	// ErrWindow is for a peer that sends more than it was given room for.
	ErrWindow = errors.New("more in flight than agreed")
	// ErrIncomplete is for a seal that counts another content than was received.
	ErrIncomplete = errors.New("epoch is not complete")
	// ErrSilent is for a peer of which nothing was heard for Config.Timeout.
	ErrSilent = errors.New("the peer is silent")
	// ErrSlow is for a peer that took nothing of what is in flight for Config.Timeout.
	ErrSlow = errors.New("the peer is too slow")
	// ErrGivenUp is for a primary that said it goes on alone.
	ErrGivenUp = errors.New("the primary goes on alone")
	// ErrHandedOver is for a primary that serves no more.
	ErrHandedOver = errors.New("the primary handed over")
	// ErrLeft is for a secondary that said it is out.
	ErrLeft = errors.New("the secondary left")
	// ErrLost is for a connection that ended without a word.
	ErrLost = errors.New("the connection was lost")
	// ErrClosed is for a session that this side closed.
	ErrClosed = errors.New("the session is closed")
	// ErrSink is for a receiving store that failed.
	ErrSink = errors.New("cannot store what the peer sent")
	// ErrSource is for a sending store that failed.
	ErrSource = errors.New("cannot read what is to be sent")
)

// refusals are the codes of docs/MIRROR.md. Zero is no code.
var refusals = map[uint16]error{
	1: ErrVersion,
	2: ErrWrongPeer,
	3: ErrWrongVolume,
	4: ErrSize,
	5: ErrRole,
	6: ErrOlderGeneration,
	7: ErrNotAdmitted,
}

func refusalCode(err error) uint16 {
	for code, known := range refusals {
		if errors.Is(err, known) {
			return code
		}
	}
	return 7
}

// RefusedError is the peer's answer to this side's hello. It unwraps to the reason.
type RefusedError struct {
	Reason error
	Text   string // the peer's words, made printable
}

func (e *RefusedError) Error() string {
	return "the peer refuses: " + e.Text
}

// Unwrap returns the reason, one of the errors above.
func (e *RefusedError) Unwrap() error { return e.Reason }

// FrameError is a fault in what the peer sent. Nothing of the frame was used.
type FrameError struct {
	Kind  Kind
	Field string
	Value uint64
	Err   error
}

func (e *FrameError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("mirror: %v: %v", e.Kind, e.Err)
	}
	return fmt.Sprintf("mirror: %v: %s %d: %v", e.Kind, e.Field, e.Value, e.Err)
}

// Unwrap returns what is wrong: ErrFormat, ErrChecksum, ErrSequence, …
func (e *FrameError) Unwrap() error { return e.Err }

// printable makes a peer's text fit for a terminal: at most 200 bytes, nothing that moves a cursor.
func printable(text []byte) string {
	const most = 200
	if len(text) > most {
		text = text[:most]
	}
	quoted := strconv.QuoteToGraphic(string(text))
	return quoted[1 : len(quoted)-1]
}
