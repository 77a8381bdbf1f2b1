// Package aio moves data between memory and files for one thread, and lets that thread wait for
// its data and for eventfds in one place.
//
// # Words
//
//   - engine: one thread's mover of data; it satisfies bio.Engine
//   - operation: one readv or writev; it completes with the bytes moved or a negative errno
//   - watch: a one-shot read of an eventfd; it completes with 8 when the eventfd has fired, which
//     takes the eventfd's count
//   - tag: a number given with an operation or a watch and returned with its completion
//   - backlog: operations that found the engine full and wait there in order; none is ever lost
//
// # Kinds
//
//	uring    io_uring, operations handed over eight at a time; for devices and their file systems
//	inline   preadv and pwritev on the spot; for tmpfs, where io_uring hands every request to
//	         a kernel thread and each costs two thread switches
//	threads  preadv and pwritev on a few threads; where io_uring is refused, as in containers
//
// Pick chooses by the file system that a file lies on.
//
// # Rules
//
// An engine belongs to the thread that made it. Results pass through as the kernel gives them:
// short counts, EINTR and EAGAIN are the caller's to continue. Watches have bio.LaneTag clear in
// their tag; at most MaxWatches are armed, under different tags, also different from the tags of
// the operations in flight.
package aio
