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
//   - report: the secondary made an epoch the current state of its disks;
//   - generation: counts who may serve; in every frame, and never going back;
//   - mark: an epoch of a generation, which names a checkpoint that both partners may still have;
//   - synchronisation: to bring the secondary's disk to a point of the primary's, before epoch 0;
//   - credit: how many bytes the receiver took; what was sent beyond it is in flight;
//   - promise: the secondary's word not to take over before a time; the primary's lease.
//
// # Files
//
// hello.go begins a connection and judges the peer; frame.go, message.go and extent.go are the
// format, without I/O; conn.go moves frames; session.go joins them, with a goroutine that reads and
// one that watches; stream.go sends epochs, receive.go takes them; synchronise.go, verify.go and
// promise.go are what their names say; transport.go is TCP and TLS.
package mirror
