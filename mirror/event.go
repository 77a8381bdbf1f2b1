package mirror

import "time"

// Event is what a session tells its owner. Config.Event is called for one at a time, in the order in
// which the peer said it (but see RenewalAsked), and not any more once Done is closed.
type Event interface{ event() }

// Events of a secondary.
type (
	// SyncBegun says that a synchronisation of a disk goes on.
	SyncBegun struct{ Plan SyncPlan }
	// SyncEnded says that a disk is durably at the point of the run.
	SyncEnded struct {
		Run  ID
		Disk int
	}
	// Sealed says that the peer's rings are stopped, and what they looked like.
	Sealed struct {
		Epoch uint64
		Rings []RingDigest
	}
	// Complete says that all of a sealed epoch is here. Session.Ack is to follow.
	Complete struct{ Epoch uint64 }
	// RingsStarting says that the primary's rings are to run again. Session.AckStart is to follow.
	RingsStarting struct{ Epoch uint64 }
	// ShutdownAnnounced says that the primary's machine ends for good, and nobody is to take over.
	// Session.AckShutdown is to follow.
	ShutdownAnnounced struct{ Cause Cause }
	// RenewalAsked says that the primary wants a promise of no takeover for so long, at most a minute.
	// Session.Renew gives it. It overtakes what the primary said before.
	RenewalAsked struct{ For time.Duration }
	// GaveUp says that the primary goes on alone; the session ends.
	GaveUp struct {
		Reason Reason
		Text   string // printable
	}
	// HandedOver says that the primary serves no more and this side is to take over; the session ends.
	HandedOver struct {
		Reason Reason
		Text   string // printable
	}
)

// Events of a primary.
type (
	// Acked says that the secondary has all of an epoch.
	Acked struct{ Epoch uint64 }
	// Reported says that the secondary's disks show an epoch, and which one it has durably (Base: none).
	Reported struct {
		Epoch   uint64
		Durable int64
	}
	// Progress says, between a seal and its acknowledgement, that the secondary took something.
	Progress struct{}
	// StartAcked says that the secondary knows that the seal does not stand any more.
	StartAcked struct{ Epoch uint64 }
	// ShutdownAcked says that the secondary will not revive the machine.
	ShutdownAcked struct{}
	// Renewed says that the secondary promised not to take over until a time of Config.Clock, counted
	// from when it was asked.
	Renewed struct{ Until time.Duration }
	// Left says that the secondary is out; the session ends.
	Left struct {
		Reason Reason
		Text   string // printable
	}
)

func (SyncBegun) event()         {}
func (SyncEnded) event()         {}
func (Sealed) event()            {}
func (Complete) event()          {}
func (RingsStarting) event()     {}
func (ShutdownAnnounced) event() {}
func (RenewalAsked) event()      {}
func (HandedOver) event()        {}
func (Progress) event()          {}
func (StartAcked) event()        {}
func (ShutdownAcked) event()     {}
func (Left) event()              {}
func (Acked) event()             {}
func (Reported) event()          {}
func (Renewed) event()           {}
func (GaveUp) event()            {}
