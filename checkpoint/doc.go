// Package checkpoint is the store: it redirects every write of a guest's disk to a fresh place, so
// that states of the disk can be kept, returned to and read while the guest goes on.
//
// It knows no guests and no sockets. A device (package blk) moves data through a lane, one for each
// of its workers; everything else is a method of Store.
//
// # Words
//
//   - volume: a guest's disk with its history, in a directory or on a block device;
//   - block: 4 KiB of the disk, the unit of mapping;
//   - slot: a 4 KiB place in the data area, where blocks lie;
//   - block map: says for each block which slot holds it now;
//   - sequence number: the order in which changes enter the journal, and so take effect;
//   - point: a place in this order that is kept: a checkpoint, or the state a rollback left;
//   - epoch: the stretch between two points; points and epochs are numbered together;
//   - start: put a point and go on in the next epoch;
//   - retire: make a started point durable, and the one that a takeover returns to;
//   - line: a branch of the history; a rollback begins one;
//   - lifetime of a slot: the epochs [birth, death) during which a block lay in it;
//   - death record: block, slot and lifetime, written when a block is overwritten that a point holds;
//   - run: a set of death records behind one point, the unit of a sweep;
//   - sweep: to judge the records of a deleted point again and let go of what only it held;
//   - limbo: where slots wait that nothing refers to any more and that may not be written yet;
//   - slack: how much of the data area may be neither live nor kept;
//   - base: a read-only image under a volume, read where nothing was written;
//   - intent: a note on the device, beside the data, that stands for a journal record until the
//     next flush round;
//   - flush round: what makes the journal and everything in it durable, for all who wait;
//   - snapshot: the block map and all that belongs to it, written out so that the journal can
//     begin anew.
//
// docs/FORMAT.md has what lies on the disk, docs/ORDERING.md in which order it gets there.
package checkpoint
