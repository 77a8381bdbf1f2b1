// Package disktest is a disk that lies: a file system in memory for tests of a store, which
// forgets what a real disk is allowed to forget. Everything is decided by a seed.
//
// # Fault model
//
// What a completed Sync of a file covers is kept: its content, its mapped content and its size.
// What SyncDir covers is kept: the names. Of everything later, a power cut keeps what it likes:
//
//   - Lost: any write may be missing.
//   - Torn: of a write, any subset of its 512-byte sectors may be there. A sector is whole.
//   - Reordered: any subset of the writes may be there, in particular a later one without an
//     earlier one. Where a sector was written several times, any of its versions may be there.
//   - Mapped memory is written back whenever the kernel likes: any version of a sector that was
//     seen at any operation may be there.
//   - Sizes: any size that the file had since its last Sync.
//   - Names: each creation and each removal since the last SyncDir may be missing.
//   - Punch: as a write of zeroes. Allocate: as a change of size.
//   - Operations of an Engine that are not complete: as writes, done in part or not at all.
//
// The death of the process (Kill) keeps everything written, mapped memory included, and what was
// not synced may still be lost by a later power cut. Of an Engine's operations in flight any may
// be done, in part or not at all. Locks are free again. Stores into mapped memory are no
// operations: a test that wants a process to die between two of them edits the memory.
//
// Operations fail on demand (FailAt, FailReadAt), or because the disk is full (SetCapacity). Of
// a write that fails any sectors may be written. A Sync that fails writes any part of what it
// should have, and forgets the rest as Linux does: the pages count as clean, so that a later
// Sync succeeds and does not write them; some of them read as what is on the disk.
//
// A disk fails in no other way: it does not change what was synced, unless Damage asks for it,
// and does not put a write in a wrong place.
//
// # Glossary
//
// An operation is whatever changes the disk; operations are counted from 1. A cut is an
// independent copy of the disk as the next process finds it. Stable is what no cut can lose;
// a version is a page as some operation left it, with the sectors that the operation wrote.
package disktest
