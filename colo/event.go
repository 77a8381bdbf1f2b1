package colo

import "time"

// Event is something that happened; all are in this file.
type Event interface{ event() }

// From QEMU's monitor, in the order in which QEMU sent them.
type (
	// Stop is the event STOP: the VM stands still. QEMU sends it after the vhost replies.
	Stop struct{}
	// Resume is the event RESUME. QEMU sends it before it starts the vhost devices.
	Resume struct{}
	// ColoExit is the event COLO_EXIT.
	ColoExit struct{ Reason string }
	// MigrationFailed is the event MIGRATION with status failed: QEMU did not get as far as COLO.
	MigrationFailed struct{ Why string }
	// Shutdown is the event SHUTDOWN: the guest or an operator ended the machine.
	Shutdown struct{ Reason string }
	// Reset is the event RESET. Foreign says that not the guest itself asked for it.
	Reset struct{ Foreign bool }
	// Meddled is any other event that says that somebody changed the machine: DEVICE_DELETED and the like.
	Meddled struct{ What string }
	// MonitorLost is a gap in the events: what follows is not all there was. On p the controller looks
	// after it whether QEMU still is in COLO, and gives ColoExit if not.
	MonitorLost struct{ Cause string }
	// BarrierPassed answers Barrier: all events that QEMU sent before were given.
	BarrierPassed struct{ Seq uint64 }
	// Yanked answers Yank: QEMU's migration connection is cut, or there was none.
	Yanked struct{}
	// QEMUGone says that the QEMU process has ended.
	QEMUGone struct{}
)

// From the vhost-user front end.
type (
	// StopRequested is GET_VRING_BASE: QEMU waits, its big lock held.
	StopRequested struct{ Ring Ring }
	// RingStart says that a ring was started. It is held until Release.
	RingStart struct {
		Ring   Ring
		Digest Digest
		Fresh  bool // nothing was ever put into it: its driver has just set it up
	}
	// Drained answers Drain: nothing of the ring is in flight.
	Drained struct {
		Ring   Ring
		Digest Digest
	}
	// Quiesced answers DrainAll. It has the digest of every ring that is started.
	Quiesced struct{ Digests Digests }
	// Disconnected says that a disk's front end went away without a stop.
	Disconnected struct{ Disk int }
)

// From the peer, in the order in which it sent them.
type (
	// PeerUp says that the mirror connection stands.
	PeerUp struct{}
	// Synced says on p that s has everything that was there, and new writes are streamed.
	Synced struct{}
	// PeerLost says that the connection is gone for good, or too slow.
	PeerLost struct{ Cause string }
	// PeerLeft says on p that s has poisoned itself, durably.
	PeerLeft struct{ Why string }
	// GaveUp says on s that p goes on alone.
	GaveUp struct{ Why string }
	// HandedOver says on s that p serves no more, its QEMU has ended, and s is to take over.
	HandedOver struct{ Why string }
	// Sealed says on s that P's rings are stopped, and what their digests are.
	Sealed struct {
		Epoch   Epoch
		Digests Digests
	}
	// Complete says on s that all of a sealed epoch has come, and its checksums are right.
	Complete struct{ Epoch Epoch }
	// Acked says on p that the seal is complete at s.
	Acked struct{ Epoch Epoch }
	// Progress says on p that s has taken some of what was sent.
	Progress struct{}
	// RingsStarting says on s that P's rings are to run again.
	RingsStarting struct{ Epoch Epoch }
	// StartAcked says on p that s knows that the seal no longer stands.
	StartAcked struct{ Epoch Epoch }
	// Reported says on p that s has made an epoch current.
	Reported struct{ Epoch Epoch }
	// RenewalAsked says on s that p wants another promise.
	RenewalAsked struct{}
	// Renewed says on p that s promised not to take over before this time of the boot clock, which is
	// counted from when p sent the question.
	Renewed struct{ Until time.Duration }
	// ShutdownAnnounced says on s that P's guest has ended and must not be revived.
	ShutdownAnnounced struct{}
	// ShutdownAcked says on p that s has ended, too, durably.
	ShutdownAcked struct{}
)

// From the witness, or, where there is none, from the operator: the question then waits for "belay
// failover", and is Unreachable until it comes. The controller repeats a question until it is answered by
// Won or Lost; Won is given when the new generation is durable at the witness and here.
type (
	// Won says that a claim holds: nobody else can get what it excludes.
	Won struct{ Claim Claim }
	// Lost says that somebody else's claim came first.
	Lost struct{ Claim Claim }
	// Unreachable says that there is no answer for now.
	Unreachable struct{ Claim Claim }
)

// From the clock, the operator and the disk.
type (
	// Expired says that a timer has run out. One that was started again or stopped since does not count.
	Expired struct {
		Timer Timer
		Seq   uint64
	}
	// DeadlinePassed says on p that the time of ServeUntil is over. Publishing has stopped by itself.
	DeadlinePassed struct{}
	// Failover is the operator's word that this side is to go on alone.
	Failover struct{}
	// Quit says that belay is to end.
	Quit struct{}
	// WriteFailed says that a disk failed; the request is held.
	WriteFailed struct{ Disk int }
	// Loaded answers Load.
	Loaded struct{ Epoch Epoch }
	// Promoted answers Promote.
	Promoted struct{}
)

func (Stop) event()              {}
func (Resume) event()            {}
func (ColoExit) event()          {}
func (MigrationFailed) event()   {}
func (Shutdown) event()          {}
func (Reset) event()             {}
func (Meddled) event()           {}
func (MonitorLost) event()       {}
func (BarrierPassed) event()     {}
func (Yanked) event()            {}
func (QEMUGone) event()          {}
func (StopRequested) event()     {}
func (RingStart) event()         {}
func (Drained) event()           {}
func (Quiesced) event()          {}
func (Disconnected) event()      {}
func (PeerUp) event()            {}
func (Synced) event()            {}
func (PeerLost) event()          {}
func (PeerLeft) event()          {}
func (GaveUp) event()            {}
func (HandedOver) event()        {}
func (Sealed) event()            {}
func (Complete) event()          {}
func (Acked) event()             {}
func (Progress) event()          {}
func (RingsStarting) event()     {}
func (StartAcked) event()        {}
func (Reported) event()          {}
func (RenewalAsked) event()      {}
func (Renewed) event()           {}
func (ShutdownAnnounced) event() {}
func (ShutdownAcked) event()     {}
func (Won) event()               {}
func (Lost) event()              {}
func (Unreachable) event()       {}
func (Expired) event()           {}
func (DeadlinePassed) event()    {}
func (Failover) event()          {}
func (Quit) event()              {}
func (WriteFailed) event()       {}
func (Loaded) event()            {}
func (Promoted) event()          {}
