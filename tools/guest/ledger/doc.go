// Command ledger runs in a test guest and compares, all the time, a state in its memory with
// files on its disk. It keeps in memory what each block of its files has to hold; a round
// writes some blocks, syncs, notes them, and reads some back past the page cache. Memory and
// disk that are not of one moment, as after a failover with the wrong disk state, disagree
// within a few rounds.
//
//	ledger --dir /mnt/ledger --every 50ms >/dev/console
//
// It prints a line for each round, one for each disagreement, and one at the end:
//
//	ledger: round 17 ok, 68 blocks written, 136 read
//	ledger: FAIL round 18: file 3 block 7: generation 12, want 13
//	ledger: end, 18 rounds, 1 failures
//
// What a line of the first kind counts is the sum since the start. SIGTERM ends it after
// a last comparison of everything; its exit code is 1 if anything ever disagreed.
//
// # Contents
//
// A block says which it is, and of which generation, and the rest of it follows from that:
// so a block of an older moment, of another place and a torn one are told apart. From time
// to time the kernel's caches are dropped, so that names and sizes are read from disk, too,
// and files are removed and made anew.
package main
