package colo

import (
	"math"
	"time"
)

// Action is something to be done; all are in this file.
//
//	action                answered by
//	Drain                 Drained
//	DrainAll              Quiesced
//	Seal                  Acked (Progress in between)
//	AnnounceStart         StartAcked
//	AnnounceShutdown      ShutdownAcked
//	AskWitness            Won or Lost; Unreachable in between
//	Barrier               BarrierPassed
//	Yank                  Yanked, or MonitorLost when there is no monitor (again, if it was lost before)
//	EndQEMU               QEMUGone
//	Load                  Loaded
//	Promote               Promoted
//	StartTimer            Expired
type Action interface{ action() }

// Rings.
type (
	// Drain holds a ring and finishes what was taken from it.
	Drain struct{ Ring Ring }
	// DrainAll holds every ring of the VM and finishes what was taken from them.
	DrainAll struct{}
	// AnswerStop answers GET_VRING_BASE.
	AnswerStop struct{ Ring Ring }
	// Release lets requests be taken from a ring.
	Release struct{ Ring Ring }
	// StopServing holds all rings for good and publishes nothing more, not even what is finished.
	StopServing struct{}
	// ServeUntil lets completed requests be published until this time of the boot clock. The controller
	// compares before each batch.
	ServeUntil struct{ Until time.Duration }
	// PassErrors lets the guest see that a disk fails.
	PassErrors struct{ Disk int }
)

// Forever is ServeUntil's time for one who serves alone.
const Forever = time.Duration(math.MaxInt64)

// To the peer, and to the mirrored stores.
type (
	// Seal ends the epoch: everything written so far goes to s, then the seal with these digests.
	Seal struct {
		Epoch   Epoch
		Digests Digests
	}
	// AnnounceStart tells s that the seal is not to stand any longer.
	AnnounceStart struct{ Epoch Epoch }
	// Commit retires an epoch on p: s has made it current.
	Commit struct{ Epoch Epoch }
	// GiveUpPeer ends the mirror, tells s if it can be told, and keeps the set of blocks changed
	// since the newest checkpoint that both have.
	GiveUpPeer struct{ Why string }
	// HandOver tells s to take over.
	HandOver struct{ Why string }
	// AnnounceShutdown tells s that the guest has ended.
	AnnounceShutdown struct{}

	// AckSeal tells p that the seal is complete.
	AckSeal struct{ Epoch Epoch }
	// AckStart answers AnnounceStart.
	AckStart struct{ Epoch Epoch }
	// AckShutdown answers AnnounceShutdown.
	AckShutdown struct{}
	// Report tells p that an epoch is current.
	Report struct{ Epoch Epoch }
	// Renew promises p once more not to take over.
	Renew struct{}
	// Leave tells p that this side is out. What came before it, Poison, is durable by then.
	Leave struct{ Why string }

	// Load drops s's own writes and makes a staged epoch current.
	Load struct{ Epoch Epoch }
	// KeepOwn says that s's own writes stay: its memory is its own.
	KeepOwn struct{}
	// Promote drops what is staged, makes s's disks durable as they are, and its flushes real.
	Promote struct{}
	// Poison marks the volumes durably: not to be served before they are synchronised again.
	Poison struct{ Why string }
)

// To the witness, QEMU, the clock and the operator.
type (
	// AskWitness asks for a claim until it is answered; it replaces the question before.
	AskWitness struct{ Claim Claim }
	// Forgo stops asking. An answer that comes nevertheless is ignored.
	Forgo struct{}

	// Barrier runs "exec-oob yank []" on the event connection.
	Barrier struct{ Seq uint64 }
	// StartColo sets the capabilities and starts the migration.
	StartColo struct{}
	// Yank cuts the migration's connection, and no other, out of band.
	Yank struct{}
	// LostHeartbeat runs x-colo-lost-heartbeat. That QEMU is not in COLO mode is no fault.
	LostHeartbeat struct{}
	// EndQEMU ends the QEMU process, by force if need be.
	EndQEMU struct{ Why string }

	// StartTimer starts a timer, again if it runs.
	StartTimer struct {
		Timer Timer
		Seq   uint64
	}
	// StopTimer stops it.
	StopTimer struct{ Timer Timer }
	// Refuse tells the operator why not.
	Refuse struct{ Why string }
)

// Claim is what the witness is asked for, on the generation in which the pair was made.
type Claim int

// What can be claimed. Of Alone and TakeOver only one is ever granted for one pair.
const (
	ClaimPair     Claim = iota + 1 // p: from now on s may take over
	ClaimAlone                     // p: s may not take over any more
	ClaimTakeOver                  // s: it is the primary now
)

// Timer names a duration that the controller knows.
type Timer int

// The timers.
const (
	// HoldIdle is how long p waits for progress of s while it holds a stop or a start (300 ms).
	HoldIdle Timer = iota + 1
	// HoldTotal is how long it waits in all, for all disks (1 s, less than a third of the promise).
	HoldTotal
	// Linger is how long rings stay held that were drained for the stop of another one which turns out
	// to be a device's own, not the VM's: long against the time between two stops of a VM's disks (10 ms).
	Linger
	// Promise is how long s's promise not to take over binds it: longer than what p counts, by what two
	// clocks may differ.
	Promise
)

func (Drain) action()            {}
func (DrainAll) action()         {}
func (AnswerStop) action()       {}
func (Release) action()          {}
func (StopServing) action()      {}
func (ServeUntil) action()       {}
func (PassErrors) action()       {}
func (Seal) action()             {}
func (AnnounceStart) action()    {}
func (Commit) action()           {}
func (GiveUpPeer) action()       {}
func (HandOver) action()         {}
func (AnnounceShutdown) action() {}
func (AckSeal) action()          {}
func (AckStart) action()         {}
func (AckShutdown) action()      {}
func (Report) action()           {}
func (Renew) action()            {}
func (Leave) action()            {}
func (Load) action()             {}
func (KeepOwn) action()          {}
func (Promote) action()          {}
func (Poison) action()           {}
func (AskWitness) action()       {}
func (Forgo) action()            {}
func (Barrier) action()          {}
func (StartColo) action()        {}
func (Yank) action()             {}
func (LostHeartbeat) action()    {}
func (EndQEMU) action()          {}
func (StartTimer) action()       {}
func (StopTimer) action()        {}
func (Refuse) action()           {}
