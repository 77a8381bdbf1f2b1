// Package mirror carries what a virtual machine writes on one host to the store of its partner on
// another: the wire protocol of docs/MIRROR.md, sessions that speak it, and the promises by which
// at most one of the two serves.
//
// It knows no stores, no guests and no QEMU. What it sends comes from a Source for each disk, what
// it receives goes to a Sink; whoever wires them together sees the rest as Events, in order.
//
// # Words
//
//   - pair: two stores for the disks of one virtual machine, a primary and a secondary;
//   - epoch: the stretch between two checkpoints of the machine, all disks together, from 0;
//   - seal: says that all of an epoch was sent, how much that was, and what P's rings looked like;
//   - acknowledgement: the secondary has all of a sealed epoch, with the right checksums;
//   - ring start: the primary's guest is to write again; the seal stands until it is acknowledged;
//   - report: the secondary made an epoch the current state of its disks;
//   - generation: counts who may serve; in every frame, and never going back;
//   - mark: an epoch of a generation, which names a checkpoint that both partners may still have;
//   - synchronisation: to bring the secondary's disk to the state of the primary's, before epoch 0;
//   - run: a synchronisation, which can go on in another session after a broken connection;
//   - credit: how many bytes the receiver took; what was sent beyond it is in flight;
//   - promise: the secondary's word not to take over before a time.
//
// # Files
//
// hello.go begins a connection and judges the peer; frame.go, message.go, extent.go and decode.go are
// the format, without I/O; conn.go moves frames; session.go joins them, with a goroutine that reads
// and one that watches. seam.go is what a store must do. On a primary stream.go sends epochs and
// synchronise.go what the secondary lacks, both by send.go, and by splice.go where the kernel carries it,
// within window.go's account of what is in flight; primary.go hears the answers. On a secondary secondary.go
// and syncsink.go apply what waits in queue.go. verify.go compares; transport.go is TCP and TLS.
//
// # Who waits for whom
//
// A goroutine that reads never writes and never waits for a store, so that two sides which both
// write cannot wait for each other; what a secondary reads goes to a queue, which the window
// bounds, and is applied by another goroutine. Control messages therefore pass a busy store, and
// the queue keeps the order of everything that depends on order. When the connection ends, a
// secondary first applies what it has read: a seal that came whole counts. Only the last thing
// that a primary reads, of content that was damaged, has it look into its store.
package mirror
