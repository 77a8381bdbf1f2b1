package blk

import (
	"time"

	"golang.org/x/sys/unix"
)

// slice is the time for which a worker wants to keep its CPU at a time. A worker does little between
// two sleeps, and a short slice lets it begin at once when it wakes on a CPU that somebody else is
// using for longer: background work of this process, above all.
const slice = 100 * time.Microsecond // the kernel's least

// shortenSlice asks for it, for the calling thread. Kernels before Linux 6.12 know no such wish.
func shortenSlice() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return // somebody decided otherwise
	}
	attr.Runtime = uint64(slice)
	_ = unix.SchedSetAttr(0, attr, 0)
}
