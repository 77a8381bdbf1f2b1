// Package sim runs a pair in a world that is made of a seed: two hosts with a belay and a QEMU each, the
// links between them, a witness, clocks that drift, and faults. It is for tests.
//
// What stands beside a QEMU is a [Side]. The package's own one (model.go) is both machines of package colo
// and no more: its disks are sums, its messages are events, so that a million checkpoints take minutes.
// The tests of internal/pair bring another one along: real stores on disks that lie, real sessions, and
// all that a belay does with them.
//
// QEMU is a model (qemu.go) of what the real one was seen to do: it stops the rings before it says STOP
// and starts them after RESUME, its checkpoints load whether a device was stopped or not, a load can fail
// before and after the memory was overwritten, a transfer can freeze with the big lock held, somebody may
// say cont in the middle. Its guest writes to its disks at random, and sets its devices up anew.
//
// Of the model, a disk is a sum over the writes that reached it, and the guest's memory has the sum of the
// writes that were completed to it. Whenever a backend executes a request, the two must agree, but for
// what is in flight: that is what "exactly the disk that its memory expects" means. The rings' digests are
// taken over what a backend writes, as the guest may already run when they are looked at; a write's
// identity goes into them, so that two rings that did different work differ.
//
// Checked all the time: memory and disk agree; who is poisoned executes nothing; nobody publishes while
// the other side serves; nobody takes over from a guest that runs on and has a guard to end it (every second
// pair has guards); a guest that was shut down is not revived. Checked at the end, where there was
// one fault only: who must serve does.
//
// Of a side that was brought along, the guest's memory has what each block of its disks must hold, and all
// of them are compared at every request and at every end (Expected). Its hosts may also lose their power
// in the middle of what they do to a disk, both of them, and start cold: then the side that served last
// must be the one that may, and each block of its disk must hold what was flushed or something written
// later (cold.go). Who returns has the disk that it had.
package sim
