// Command pairbench measures what COLO costs a guest and how fast it fails over, on this
// machine, with different ways to carry the disk:
//
//	bare    belay serve on both sides, nothing carried: what COLO itself costs with a
//	        vhost-user-blk disk. The other side's disk is wrong; only the primary is measured.
//	qsd     the same with qemu-storage-daemon, without load
//	qemu    QEMU's block replication: quorum, replication, NBD
//
//	pairbench [--subjects bare,qemu] [--checkpoints 40] [--seconds 20] [--delay 500ms]
//
// For each it boots a pair, and takes, in this order:
//
//	idle     pauses of the primary, and of the secondary, while the guest does nothing
//	fsync    4 KiB write and fsync, one at a time: rate, latency of the fsync; pauses
//	write    4 KiB random writes at depth 16: rate; pauses
//	failover from kill -9 of the primary, QEMU and backend, until the secondary runs alone
//
// A pause is from when the virtual CPUs stand until QEMU resumes them; package pair says more.
// The guest writes to the bare disk, past its page cache. Figures depend on what executes the
// guest (kvm or tcg), which is told.
//
//	main.go     the command line and the order of things
//	subject.go  pairs, one kind each
//	measure.go  what is taken of a pair
package main
