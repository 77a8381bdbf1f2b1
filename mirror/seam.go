package mirror

import "io"

// Change is a stretch of a disk that is to be sent.
type Change struct {
	Off, Len int64 // bytes, multiples of 512

	// From has the content at byte At, if Zero is not set. It stays what it is until the batch is
	// released. What lies in an *os.File is carried by the kernel where the checksum is known and the
	// connection is plain TCP; neighbours in it, one after the other in the batch, are read at once. It may
	// be open for direct I/O if all changes before it in the batch are whole blocks of 4096 bytes.
	From io.ReaderAt
	At   int64
	Zero bool // the stretch reads as zeroes

	// Sum is the Checksum of the whole content, if Summed: one that was made when the guest wrote
	// it protects it on its way through this store, too. It is judged when the content is read here, by
	// the secondary if not.
	Sum    uint32
	Summed bool
}

// Batch is a set of changes of one disk.
type Batch struct {
	Changes []Change
	// Done says that the epoch that was cut holds nothing more.
	Done bool
	// Wait receives something, or is closed, when there may be more; for a batch without changes that is
	// not Done.
	Wait <-chan struct{}
	// Verify reads so many bytes from byte off of the disk, where the batch has them, and compares them
	// with the checksums that were made when the guest wrote: it is asked what is wrong when a Sum was. It
	// may be nil.
	Verify func(off, n int64) error
	// Release is called once, when nothing of the batch is read any more: with true when the secondary
	// has taken it, with false when the session ended before. Any goroutine may call it. It may be nil.
	Release func(arrived bool)
}

// Source is what a primary's store has to send of one disk: what changed in the open epoch and was
// not yet taken, and after a cut what belongs to the epoch before it, to its end. One goroutine
// calls it. For a synchronisation it is what the secondary lacks; what changes meanwhile may come
// once more.
type Source interface {
	// Next takes about max bytes of content at most. It does not wait.
	Next(max int) (Batch, error)
}

// Sink is a secondary's store. One goroutine calls it, and none once Session.Done is closed.
type Sink interface {
	// SyncBegin prepares a disk for a synchronisation: durably not fit for takeover until all of epoch
	// 0 is there; at plan.From, or without content if that is zero. If it is the run that was broken
	// off before, it returns ranges, ascending, in which everything it took is still there; the whole
	// disk, if it has not been away meanwhile.
	SyncBegin(plan SyncPlan) ([]Range, error)
	// SyncWrite takes content. Later pieces win.
	SyncWrite(disk int, pieces []Piece) error
	// SyncFlush makes what was written durable, and returns how many bytes of the run are.
	SyncFlush(disk int) (int64, error)
	// SyncEnd is told when the disk is as the primary's: that is made durable, with at as its mark.
	SyncEnd(at Mark, disk int) error

	// Write stages what changed in an epoch; the secondary's guest does not see it. Later pieces win.
	Write(disk int, epoch uint64, pieces []Piece) error
	// Seal is told when all of an epoch, of all disks, was staged.
	Seal(epoch uint64) error
}

// Reader shows past states of the disks, for verification. Several goroutines may call it.
type Reader interface {
	// ReadMark fills p with what disk held at a mark. ErrUnknownMark: this store does not have it.
	ReadMark(at Mark, disk int, p []byte, off int64) error
}

// holds says whether a byte of the disk is in the batch.
func (b *Batch) holds(off int64) bool {
	for _, c := range b.Changes {
		if off >= c.Off && off-c.Off < c.Len {
			return true
		}
	}
	return false
}
