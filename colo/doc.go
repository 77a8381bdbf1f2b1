// Package colo decides what a pair of mirrored backends does while QEMU's COLO runs a guest twice.
//
// Two pure state machines, [Primary] and [Secondary]: Step takes what happened and returns the next
// state and what is to be done about it. Nothing here knows of sockets, clocks or disks; the verbs in
// cmd/belay carry the actions out with real ones, package colo/sim with simulated ones.
//
// # Words
//
// P and S are the two QEMUs, p and s the backends beside them. An epoch is what the guest wrote between
// two ring stops on P; epoch 0 ends with the migration's final stop. One machine serves one VM: epochs,
// seals, the role and every decision belong to all of its disks together; what belongs to one is named
// by a [Ring], a disk and one of its queues.
//
// A seal closes an epoch: every ring of the VM is drained and held, and what was written goes over as
// one state. It is complete when s has all of it, checksummed, and stands until p announces that rings
// start. A load is S's QEMU taking P's memory; s then drops its own writes, makes the sealed epoch
// current and reports it. Who gives the peer up goes on alone. Who is poisoned never serves until it is
// synchronised again.
//
// # How a controller drives a machine
//
// Events are given one at a time, those of each connection in the order in which they were sent; events
// of different connections may overtake each other. Actions are carried out in their order; each is
// begun only when the one before is done, but for those that are answered by an event (the table in
// action.go names it), which go on by themselves. Rings start held: no request is taken from a ring
// before [Release] names it.
//
// # What happens at a checkpoint
//
//	S   QEMU stops S: StopRequested -> Drain -> Drained -> AnswerStop; then STOP
//	P   QEMU stops P: StopRequested -> DrainAll -> Quiesced -> Seal, and no answer yet
//	S   Sealed, Complete -> AckSeal
//	P   Acked -> AnswerStop; only now can the memory travel that belongs to this disk
//	S   RESUME -> Load -> Loaded -> Report; RingStart -> Barrier -> BarrierPassed -> Release
//	P   Reported -> Commit; RingStart -> AnnounceStart
//	S   RingsStarting -> Barrier -> BarrierPassed -> AckStart: the seal no longer stands
//	P   StartAcked -> Release
//
// The last pair of messages is there because a seal that s still believes in while p writes again is
// silent corruption: were the announcement lost with p, QEMU's next checkpoint would look like a load of
// the old seal. So nothing is taken from P's rings until s has read all of QEMU's events that came
// before, and has put the seal away.
//
// # What S decides, and when
//
// The load decision is made at RESUME, never at the ring start: a device that the guest has not started
// is not stopped or started at a checkpoint, but the memory is loaded all the same. At the ring start
// the decision is only checked: by the ring's digest.
//
//	seen since the last RESUME     seal                    S's memory is    then
//	nothing (the first RESUME)     standing and complete   epoch 0          Load, digest as P's
//	STOP                           standing and complete   that epoch       Load, even if current
//	STOP                           none, or not complete   unknown          Poison
//	nothing (no STOP)              any                     unknown          Poison
//	COLO_EXIT, now or earlier      any                     its own          KeepOwn, digest as its own
//
// Somebody's cont between S's stop and its load looks like a load. The rings give it away, as they are S's
// own; of a device that its guest has not started there is none to look at, so nobody but belay may send
// cont to S. For the same reason nobody can tell that S failed to load P's devices, after P's memory had
// come, if the device was not started on P just then (its guest booted) and P is lost at that moment: S then
// goes on with P's memory and its own disk.
//
// A vhost reply never waits for a QMP event: rings are held instead, until a barrier on the event
// connection has shown that every earlier event was read.
//
// # Who goes on
//
// Two of {primary, secondary, witness}. p alone needs the witness, or s's word that it has poisoned
// itself for good ([PeerLeft]). s needs the witness, and the end of its own promise to p not to ask it.
// p publishes what its guest may see only until [ServeUntil], which s's promises carry on.
package colo
