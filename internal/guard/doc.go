// Package guard ends a process when the one that looks after it was killed.
//
// A belay that is killed ends nothing any more: its QEMU's guest goes on from memory, and answers the
// network, while the other side of the pair takes over. So each QEMU gets a guard: a small child of
// belay, the same program under a hidden verb, that holds a pidfd of QEMU and the read end of a pipe from
// belay. The pipe carries words: end it, leave it. When the pipe ends, the last word is carried out, so
// that it makes no difference how belay ended. Nothing that happened between the word and the end can be
// missed: a pipe gives everything that was written before it gives its end, whoever wrote it lives or not.
//
// A guard is a session of its own, so that a signal to belay's group or terminal does not reach it, and
// signals that a service manager sends to all of a service it ignores. It ends with QEMU or with belay,
// whichever is first. It is belay's child, but nothing is told to it by the kernel when belay dies but the
// end of the pipe: the parent-death signal belongs to the thread that started the child, not to the
// process (prctl(2), PR_SET_PDEATHSIG), and would come when a thread of a healthy belay ends.
//
// # Files
//
//	keeper.go   Keeper: belay's side, which keeps a guard there
//	post.go     one guard, from its start to its end
//	run.go      what the guard itself does
package guard
