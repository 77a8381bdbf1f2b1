package mirror

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time since some moment, including time in which the host was suspended: a
// promise must not be kept longer because the host slept.
type Clock func() time.Duration

// BootClock is CLOCK_BOOTTIME.
func BootClock() time.Duration {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	invariant(err == nil, "no CLOCK_BOOTTIME")
	return time.Duration(t.Nano())
}

// maxPromise bounds what a primary may ask for, and so the time for which a secondary can be kept
// from taking over.
const maxPromise = time.Minute
