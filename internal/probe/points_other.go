//go:build !amd64 && !arm64

package probe

// Watched says that this platform has the points. Here they are no symbols, and nobody can attach.
const Watched = false

func requests(*Request, uint64, uint64, uint64) {}

// Kick is described in points_asm.go, as are the others.
func Kick(_, _ uint64) {}

// Notify does nothing.
func Notify(_, _ uint64) {}

// FlushRound does nothing.
func FlushRound(_, _, _, _, _ uint64) {}

// CheckpointStart does nothing.
func CheckpointStart(_, _, _ uint64) {}

// CheckpointSealed does nothing.
func CheckpointSealed(_, _, _ uint64) {}

// CheckpointRetired does nothing.
func CheckpointRetired(_, _, _ uint64) {}

// Rollback does nothing.
func Rollback(_, _, _ uint64) {}

// Resubmit does nothing.
func Resubmit(_, _, _ uint64) {}

// MirrorSend does nothing.
func MirrorSend(_, _, _ uint64) {}

// MirrorAck does nothing.
func MirrorAck(_, _, _ uint64) {}
