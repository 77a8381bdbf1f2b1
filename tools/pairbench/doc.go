// Command pairbench measures what COLO costs a guest, what it sends and how fast it fails over, on
// this machine, with different ways to carry the disk:
//
//	bare    belay serve on both sides, nothing carried: what COLO itself costs with a
//	        vhost-user-blk disk. The other side's disk is wrong.
//	belay   belay pair on both sides, --manual, plain TCP
//	qemu    QEMU's block replication: quorum, replication, NBD
//	qsd     qemu-storage-daemon on both sides, nothing carried, without load
//
//	pairbench [--subjects bare,belay,qemu] [--parts loads,died,resync] [--rounds 3] [--out DIR] ...
//
// In each round every subject has its turn with a pair of its own, in an order that rotates. The parts:
//
//	loads   pauses of a guest that does nothing; of one that writes 4 KiB and has them synced, one at a
//	        time, with the latency of fsync; of one that writes 4 KiB at depth 16; what the link carries
//	        for the disk meanwhile. Then the primary's host is killed, QEMU and backend, while the guest
//	        writes, and the word is given as soon as the secondary may take over: from the word until the
//	        secondary's QEMU resumes its guest
//	died    the primary's QEMU alone is killed while the guest writes: from the kill until the secondary's
//	        QEMU resumes its guest. belay hears of it by itself. For the others there is a manager that
//	        could not be quicker: it gives the word when the secondary's QEMU says COLO_EXIT
//	resync  a disk full of random bytes, the primary's host killed, the guest writes 10 MiB in blocks of
//	        4 KiB on the other one, and gets a partner again: what the link carries for the disk until
//	        that is there. belay has the volume of before; QEMU mirrors the disk (drive-mirror)
//
// A pause is from when the virtual CPUs stand until QEMU resumes them; package pair says more. The
// guest writes to the bare disk, past its page cache. Figures depend on what executes the guest (kvm or
// tcg) and on everything else that runs: under TCG a guest takes a CPU by itself.
//
// The result, all samples with medians and targets, is saved and shown. Runs with the same --out, settings
// and commit make one result.
//
//	main.go       the command line, rounds and turns
//	subject.go    pairs, one kind each
//	belaypair.go  belay's
//	lab.go        what a pair stands on
//	measure.go    parts; pauses and loads
//	failover.go   failovers
//	resync.go     re-protection
//	fio.go        what the guest runs
//	result.go     the result, its targets and its table
package main
