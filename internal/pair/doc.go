// Package pair runs one side of a mirrored pair: it gives the state machines of package colo what
// happens, and does what they say with real disks, monitors and connections.
//
// # Words
//
//   - pair: one side of it, a Pair: all disks of one virtual machine, in either role;
//   - loop: the one goroutine that steps the machine; everything else posts to its mailbox;
//   - disk: a volume with the device on it, whose rings run only when the machine says so;
//   - word: the operator's decision, where he is the witness;
//   - run: a synchronisation and what follows it; its name is in the marks of all its epochs;
//   - mark: a checkpoint that both sides have: in a store a point with a name that tells the run
//     and the epoch (mark.go).
//
// # Who waits for whom
//
// The loop waits for nothing but short writes to the local disk (a poisoned volume must say so before
// anything else is done). What takes longer runs in a goroutine of its own and posts its end. A front
// end waits in Disk.Stopped until the machine has answered the stop; workers wait in the fence.
// A disk's goroutines never wait for QEMU's monitor.
//
// # Files
//
//	pair.go       Pair, the loop        actions.go    actions of both roles
//	disk.go       rings and stops       fence.go      what a guest may see, and until when
//	qemu.go       QEMU's monitors       claim.go      questions to the witness
//	primary.go    the sending side      secondary.go  the receiving side
//	source.go     what is sent          sink.go       where it goes
//	mark.go       common checkpoints    status.go     what is told to people
//	admit.go      who may be primary    stream.go     what is said to the peer
package pair
