// Package park makes system calls in which a thread waits.
//
// unix.Syscall6 tells the Go scheduler about the call, and pays for it when the call really waits:
// the scheduler's monitor takes the thread's processor away and gives it back at the end, which
// costs about as much as everything else that is done for a request (8 to 12 µs where there are
// few CPUs). unix.RawSyscall6 tells nobody: the processor is kept for as long as the wait takes.
// A thread that is about to be woken wants the second, one that sleeps for long the first.
package park

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// always is set where the runtime was told not to interrupt threads: a raw wait would never end
// there for a garbage collection.
var always = strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")

// Syscall6 makes a system call that may wait and that can be repeated after EINTR. It begins
// without the scheduler's knowledge. The first signal ends that: one comes when the runtime wants
// to stop the thread, and in any case after 10 ms, when it thinks that the goroutine had its share.
// The rest of the wait is announced.
//
// The process should have a processor (GOMAXPROCS) for each thread that waits in this way.
func Syscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1 uintptr, errno unix.Errno) {
	if !always {
		r1, _, errno = unix.RawSyscall6(trap, a1, a2, a3, a4, a5, a6)
		if errno != unix.EINTR {
			return r1, errno
		}
	}
	r1, _, errno = unix.Syscall6(trap, a1, a2, a3, a4, a5, a6)
	return r1, errno
}
