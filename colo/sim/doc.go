// Package sim runs both machines of package colo in a world that is made of a seed: two hosts with a
// backend and a QEMU each, the links between them, a witness, a clock, and faults.
//
// QEMU is a model (qemu.go) of what the real one was seen to do: it stops the rings before it says STOP
// and starts them after RESUME, its checkpoints load whether a device was stopped or not, a load can fail
// before and after the memory was overwritten, a transfer can freeze with the big lock held, somebody may
// say cont in the middle. Its guest writes to its disks at random, and sets its devices up anew.
//
// A disk is a sum over the writes that reached it, and the guest's memory has the sum of the writes that
// were completed to it. Whenever a backend executes a request, the two must agree, but for what is in
// flight: that is what "exactly the disk that its memory expects" means. The rings' digests are taken
// over what a backend writes, as the guest may already run when they are looked at; a write's identity
// goes into them, so that two rings that did different work differ.
//
// Checked all the time: memory and disk agree; who is poisoned executes nothing; nobody publishes while
// the other side serves; nobody takes over from a guest that runs on and has a guard to end it (every second
// pair has guards); a guest that was shut down is not revived. Checked at the end, where there was
// one fault only: who must serve does.
package sim
