//go:build amd64 || arm64

package probe

// The points, in assembly. volume is the number that the process gave the device, 0 for the first.

// Watched says that this platform has the points.
const Watched = true

//go:noescape
func requests(records *Request, count, volume, inflight uint64)

// Kick says that a worker has seen the kick of a guest that asked for attention.
func Kick(volume, queue uint64)

// Notify says that the guest was notified: its call eventfd was written.
func Notify(volume, queue uint64)

// FlushRound says that a flush round has ended that synced the data for dataNs nanoseconds and the
// journal for journalNs, and how many requests it answered.
func FlushRound(volume, epoch, dataNs, journalNs, waiters uint64)

// CheckpointStart says that a checkpoint was started, which took ns nanoseconds. epoch is its number.
func CheckpointStart(volume, epoch, ns uint64)

// CheckpointSealed says that everything that a checkpoint holds is durable, ns nanoseconds after it
// was asked for.
func CheckpointSealed(volume, epoch, ns uint64)

// CheckpointRetired says that a checkpoint was given up, which took ns nanoseconds.
func CheckpointRetired(volume, epoch, ns uint64)

// Rollback says that the disk was put back to a checkpoint, which took ns nanoseconds.
func Rollback(volume, epoch, ns uint64)

// Resubmit says that count requests of a queue were taken up again that an earlier life of this
// process, or of the connection, had left undone.
func Resubmit(volume, queue, count uint64)

// MirrorSend says that an epoch of a mirrored pair was sealed and sent, and how many bytes that took on
// the wire.
func MirrorSend(volume, epoch, bytes uint64)

// MirrorAck says that the partner has all of an epoch, ns nanoseconds after the machine stood still.
func MirrorAck(volume, epoch, ns uint64)
