package blk

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// KickError says that what should be a kick eventfd is none.
type KickError struct {
	Queue  int
	Result int32 // bytes read, or a negative errno
}

func (e *KickError) Error() string {
	if e.Result < 0 {
		return fmt.Sprintf("queue %d: read the kick eventfd: %v", e.Queue, unix.Errno(-e.Result))
	}
	return fmt.Sprintf("queue %d: read %d bytes from the kick eventfd, want 8", e.Queue, e.Result)
}

// minSpin is the first window of a spinner that found a reason to spin.
const minSpin = 8 * time.Microsecond

// spinner decides how long an idle worker looks at its ring before it sleeps, or at the completions
// of what it waits for. Spinning pays when the next one comes within the limit, so the window doubles
// when it would have come in that time, and closes when it did not.
type spinner struct {
	limit, window time.Duration
	since         int64 // when the worker became idle, 0 if it is busy
}

func (s *spinner) busy() { s.since = 0 }

// on reports whether to go on spinning.
func (s *spinner) on(clock func() int64) bool {
	if s.limit == 0 {
		return false
	}
	now := clock()
	if s.since == 0 {
		s.since = now
	}
	return now-s.since < int64(s.window)
}

// woke learns from a sleep that has ended now.
func (s *spinner) woke(now int64) {
	if s.limit == 0 {
		return
	}
	if now-s.since > int64(s.limit) {
		s.window = 0
		return
	}
	s.window = min(max(2*s.window, minSpin), s.limit)
}

// yield lets whoever waits for this CPU run: the guest's virtual CPU, if it shares it.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// paceInterval is how often a ring without kicks is looked at.
const paceInterval = 100 * time.Microsecond

// pacer is a timer for rings whose front end polls and gave no kick eventfd (VHOST_USER's
// NOFD flag): it reads like an eventfd.
type pacer struct {
	fd     int
	opened bool
}

func (p *pacer) open() (int, error) {
	if p.opened {
		return p.fd, nil
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("make a timer: %w", err)
	}
	tick := unix.NsecToTimespec(int64(paceInterval))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set a timer: %w", err)
	}
	p.fd, p.opened = fd, true
	return fd, nil
}

func (p *pacer) close() {
	if p.opened {
		_ = unix.Close(p.fd) // a timer has nothing to lose
	}
	p.opened = false
}
