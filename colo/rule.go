package colo

// Rule is one thing that the machines insist on. They exist as names so that a simulation can leave one
// out and show that it is needed; a product never does.
type Rule uint64

// The rules of the primary.
const (
	// AnswerAfterDrain: GET_VRING_BASE is answered when nothing is in flight.
	AnswerAfterDrain Rule = 1 << iota
	// AnswerAfterAck: it is answered when s has all of the epoch.
	AnswerAfterAck
	// AnnounceStarts: s is told before rings that were sealed run again.
	AnnounceStarts
	// StartAfterAck: and they run only when s has heard it.
	StartAfterAck
	// AloneByWitness: p goes on alone only with the witness or s's own word.
	AloneByWitness
	// YankFirst: what is held is answered only when S's QEMU cannot load any more.
	YankFirst
	// HoldUnreachable: rings stay held while the witness does not answer.
	HoldUnreachable
	// FenceLoser: who lost against the other side stops.
	FenceLoser
	// PublishByPromise: p publishes only as long as s has promised not to take over.
	PublishByPromise
	// StopBeforeHandOver: p stops serving before it tells s to take over.
	StopBeforeHandOver
	// TellShutdown: s is told of a guest that ended.
	TellShutdown
)

// The rules of the secondary.
const (
	// NoSealNoLoad: a load without a standing seal poisons.
	NoSealNoLoad Rule = 1 << (iota + 16)
	// LoadComplete: and so does a load of one that has not come whole.
	LoadComplete
	// LoadAgain: a load of the epoch that is current drops S's own writes, too.
	LoadAgain
	// ExitKeeps: after COLO_EXIT a RESUME is no load.
	ExitKeeps
	// CheckDigest: a ring starts only with the memory that the decision says.
	CheckDigest
	// BarrierAtStart: a ring runs only when every event before its start was read.
	BarrierAtStart
	// BarrierAtAnnounce: a seal is put away only when every event before was read.
	BarrierAtAnnounce
	// KeepPromise: s asks the witness only when its promise is over.
	KeepPromise
	// TakeOverByWitness: s takes over only with the witness.
	TakeOverByWitness
	// YankOrphan: s cuts QEMU's migration when it has lost p.
	YankOrphan
	// ExitFirst: s takes over only when COLO has ended in its QEMU.
	ExitFirst
	// HeedShutdown: s does not revive a guest that was shut down.
	HeedShutdown
	// GapPoisons: a gap in the events under COLO poisons.
	GapPoisons
	// SyncedOnly: s takes over only when it has loaded epoch 0.
	SyncedOnly
)
