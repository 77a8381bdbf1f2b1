// Package uring is a thin io_uring: one ring for one thread, the few operations that a block
// device needs, raw system calls, no cgo and no allocation after New.
//
// # Words
//
//   - submission queue: operations prepared by this side, handed over by Submit or Wait
//   - completion queue: results written by the kernel, taken by Reap
//   - outstanding: prepared and not yet reaped; never more than the completion queue holds
//   - tag: the user_data of an operation, returned with its result
//
// # Rules
//
// A Ring belongs to the operating system thread that made it: where the kernel knows
// IORING_SETUP_SINGLE_ISSUER it refuses calls from any other. Lock the goroutine to its thread
// before New.
//
// The preparing methods return false when the ring is full, and then nothing was queued; the
// caller keeps the operation and tries again after Reap. As the number of outstanding operations
// is bounded by the completion queue's size, the completion queue cannot overflow.
//
// Memory that an operation names stays valid and in place until the operation's result was
// reaped. Go does not move heap memory, and the preparing methods make their arguments escape to
// the heap, so keeping a reference is all that the caller has to do.
//
// # System calls
//
// Submitting never blocks, so it goes past the Go scheduler (RawSyscall6). Waiting does block and
// tells the scheduler (Syscall6): a raw wait would hold a P for its whole length and stall the
// garbage collector. Neither is called when the rings already hold the answer.
package uring
