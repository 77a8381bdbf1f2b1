package mirror

// Event is what a session tells its owner. A session calls Config.Event from one goroutine, in the
// order in which the peer said it, and not any more once Done is closed.
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
	// Sealed says that the peer's rings are stopped and all of the epoch was sent.
	Sealed struct {
		Epoch  uint64
		Digest []byte // of the primary's rings
	}
	// Complete says that all of a sealed epoch is here. It comes before the acknowledgement goes out,
	// and so before QEMU can load what belongs to it.
	Complete struct{ Epoch uint64 }
	// RingStarted says that the primary's rings start again: the seal does not stand any more.
	RingStarted struct{ Epoch uint64 }
	// Shutdown says that the primary's machine ends for good, and nobody is to take over.
	Shutdown struct{ Cause Cause }
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
	// Renewed says that the lease was extended.
	Renewed struct{}
)

// GaveUp says that the peer gives the pair up; the session ends with ErrGivenUp. Of both sides.
type GaveUp struct {
	Reason Reason
	Text   string // printable
}

func (SyncBegun) event()   {}
func (SyncEnded) event()   {}
func (Sealed) event()      {}
func (Complete) event()    {}
func (RingStarted) event() {}
func (Shutdown) event()    {}
func (Acked) event()       {}
func (Reported) event()    {}
func (Renewed) event()     {}
func (GaveUp) event()      {}
