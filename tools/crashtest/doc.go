// Command crashtest kills a serving backend with SIGKILL, again and again, while it works,
// and checks that it kept its word: every write that it completed is there afterwards, also
// those that no flush followed, because the process died and not the machine; every other
// sector is as it was, or whole as a write in flight meant it.
//
//	crashtest --belay bin/belay --rounds 50 --queues 2 --packed --seed 7
//	crashtest --belay bin/belay --rounds 5 --guest
//	crashtest --command 'qemu-storage-daemon ... {volume} ... {socket}'    any backend
//
// Without --guest the load comes from vhosttest, and a round ends in one of two ways. The
// front end lives and reconnects, as QEMU does: then the requests in flight must be completed
// by the new process from the inflight region. Or it dies too, and a new one finds the disk.
// With --guest the load is fio in a QEMU guest, which reconnects by itself and must see no
// error.
//
// It prints its seed; the same seed repeats the same requests and the same choices, though
// not the same interleaving.
//
// # Glossary
//
//	ledger    what each sector of the tested area may hold
//	version   the number of a write; it is part of every sector's content
//	round     start, load, kill, start again, verify
//
// # Files
//
//	ledger.go   the sectors and the contents they may have
//	load.go     random requests on one queue
//	round.go    the loop on vhosttest
//	guest.go    the loop in a guest
//	target.go   how the backend is started and what its verbs are asked
package main
