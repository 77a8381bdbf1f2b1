package qmp

import (
	"errors"
	"fmt"
)

var (
	// ErrNotQMP marks a socket behind which something speaks that is not QMP. Trying again
	// does not help.
	ErrNotQMP = errors.New("not a QMP socket")
	// ErrSockets marks sockets that cannot be used, or not together. Trying again does not help.
	ErrSockets = errors.New("QMP sockets")
	// ErrGone marks a connection that QEMU closed, usually by ending.
	ErrGone = errors.New("QEMU closed its monitor")
	// ErrClosed marks a connection that was closed on our side on purpose.
	ErrClosed = errors.New("monitor closed")
	// ErrFault marks a connection on which QEMU said something that cannot be.
	ErrFault = errors.New("fault in QMP")
	// ErrTimeout marks a command whose answer did not come in time. It may have been
	// executed, or may be later.
	ErrTimeout = errors.New("no answer from QEMU in time")
	// ErrNotTaken marks a Link that was closed because nobody took its events.
	ErrNotTaken = errors.New("events of QEMU were not taken")
	// ErrNoOOB is returned for an out-of-band command on a monitor that has none: QEMU does
	// not offer it on a chardev that several front ends share (mux).
	ErrNoOOB = errors.New("this monitor takes no out-of-band commands")
	// ErrLarge is returned by a Monitor for a command whose answer may be too large for it.
	ErrLarge = errors.New("the answer may be too large for this monitor")
	// ErrNoQEMU is returned by a Watcher while no QEMU is connected.
	ErrNoQEMU = errors.New("no QEMU is connected")
)

// Classes of errors that QEMU tells apart (qapi/error.json). Class is GenericError for most.
const (
	ClassGeneric  = "GenericError"
	ClassNotFound = "CommandNotFound" // this QEMU does not know the command
)

// CommandError is QEMU's answer to a command that it refused. The connection goes on.
type CommandError struct {
	Command string // as sent
	Class   string // one of QEMU's few, see ClassGeneric
	Desc    string // a sentence for people
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("QMP %s: %.300s", e.Command, e.Desc)
}

// Unknown reports whether err says that this QEMU does not have the command.
func Unknown(err error) bool {
	var e *CommandError
	return errors.As(err, &e) && e.Class == ClassNotFound
}
