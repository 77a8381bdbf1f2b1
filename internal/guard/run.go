package guard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Verb is the verb under which the program is to call Run. Its operand is QEMU's process id, for people.
const Verb = "guard"

// ErrNotGuard says that the program was not started as a guard.
var ErrNotGuard = errors.New("this is what belay pair runs beside QEMU, and of no use by itself")

// What a guard inherits.
const (
	wordsFD   = 0 // pipe from belay
	processFD = 3 // pidfd of QEMU
)

// word is what a guard is to do when it hears no more.
type word byte

const (
	leaveIt word = 'L'
	endIt   word = 'E'
)

// ready is what a guard says when it has taken up its post; anything else says why not.
const ready = "ready"

// Run is the guard: it returns when its process or its belay is gone, after it has done what belay said
// last. It says ready, or why not, to standard output, and to standard error what it did.
func Run(pid string, stdout, stderr io.Writer) error {
	// Those that a service manager or a terminal sends to everybody; and nobody may hear what it says.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	if err := unix.PidfdSendSignal(processFD, 0, nil, 0); err != nil {
		err = notReady(err)
		if !errors.Is(err, ErrNotGuard) {
			fmt.Fprintln(stdout, err)
		}
		return err
	}
	fmt.Fprintln(stdout, ready)
	last, err := listen()
	if err != nil || last != endIt {
		return err
	}
	// The pidfd is of this one process: another one that has its number by now is safe.
	err = unix.PidfdSendSignal(processFD, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("belay is gone, but QEMU (process %s) cannot be ended: %w", pid, err)
	}
	fmt.Fprintf(stderr, "belay guard: belay is gone: QEMU (process %s) was ended\n", pid)
	return nil
}

func notReady(err error) error {
	switch {
	case errors.Is(err, unix.EBADF), errors.Is(err, unix.EINVAL):
		return ErrNotGuard
	case errors.Is(err, unix.EPERM):
		return errors.New("QEMU belongs to another user, and cannot be ended")
	}
	return fmt.Errorf("QEMU's process: %w", err)
}

// listen returns the last word, when belay is gone; or leaveIt when QEMU is.
func listen() (last word, err error) {
	last = leaveIt
	fds := []unix.PollFd{{Fd: wordsFD, Events: unix.POLLIN}, {Fd: processFD, Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return leaveIt, os.NewSyscallError("poll", err)
		}
		if fds[1].Revents != 0 {
			return leaveIt, nil
		}
		if fds[0].Revents == 0 {
			continue
		}
		var buf [64]byte
		n, err := unix.Read(wordsFD, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return leaveIt, os.NewSyscallError("read", err)
		case n == 0:
			return last, nil
		default:
			last = word(buf[n-1])
		}
	}
}
