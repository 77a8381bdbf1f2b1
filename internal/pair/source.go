package pair

import (
	"context"
	"fmt"
	"io"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// source is a tracker as a session takes it.
type source struct {
	tracker *checkpoint.Tracker
	wait    chan struct{} // closed when there may be more
}

// Next takes a batch.
func (s *source) Next(limit int) (mirror.Batch, error) {
	b, err := s.tracker.Next(int64(limit))
	if err != nil {
		return mirror.Batch{}, err
	}
	if b == nil {
		return mirror.Batch{Wait: s.await()}, nil
	}
	out := mirror.Batch{Done: b.Done, Release: b.Release}
	for _, c := range b.Changes {
		out.Changes = append(out.Changes, change(c.Off, c.Len, c.Zero, batchReader{b}))
	}
	return out, nil
}

// change reads its own content at the place on the disk.
func change(off, n int64, zero bool, from io.ReaderAt) mirror.Change {
	return mirror.Change{Off: off, Len: n, Zero: zero, From: from, At: off}
}

// await turns the tracker's token into a channel that is closed.
func (s *source) await() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		select {
		case <-s.tracker.Ready():
		case <-s.wait:
		}
		close(done)
	}()
	return done
}

// discard takes and forgets everything up to the end of an epoch.
func discard(t *checkpoint.Tracker, epoch uint64) error {
	for {
		b, err := t.Next(1 << 30)
		if err != nil {
			return err
		}
		if b == nil {
			return fmt.Errorf("epoch %d of the tracker does not end", epoch)
		}
		done := b.Done && b.Epoch == epoch
		b.Release()
		if done {
			return nil
		}
	}
}

// batchReader reads what a batch names, by bytes of the disk. A change may be longer than one read.
type batchReader struct{ b *checkpoint.Batch }

func (r batchReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.b.ReadAt(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stretch is a range of a disk.
type stretch struct {
	off, n int64
	zero   bool
}

// fixed is a disk at the point to which a synchronisation leads, and what of it is to be sent.
type fixed struct {
	view *checkpoint.View
	list []stretch // ascending
	all  int64     // bytes
}

// fix opens the state at a point. since is the point from which the other side starts, 0: from nothing.
func fix(ctx context.Context, v *volume, at, since uint32) (*fixed, error) {
	f := &fixed{}
	add := func(off, n int64, zero bool) error {
		f.list = append(f.list, stretch{off, n, zero})
		f.all += n
		return nil
	}
	var err error
	switch {
	case since != 0:
		err = v.Changed(ctx, since, add)
	case v.Status().Base != "": // the other side's disk begins as zeroes, not as the image
		err = add(0, v.Size(), false)
	default:
		err = v.Allocated(ctx, add)
	}
	if err != nil {
		return nil, err
	}
	f.view, err = v.View(at)
	return f, err
}

// Next returns what is to be sent from off on. A stretch that reads as zeroes now may have had data at
// the point: it is sent as it was.
func (f *fixed) Next(off int64, limit int) (mirror.Batch, int64, error) {
	b := mirror.Batch{}
	for _, s := range f.list {
		if s.off+s.n <= off {
			continue
		}
		if limit <= 0 {
			return b, off, nil
		}
		from := max(s.off, off)
		n := min(s.off+s.n-from, int64(limit))
		zero, err := f.zero(from, n)
		if err != nil {
			return b, off, err
		}
		b.Changes = append(b.Changes, change(from, n, zero, f.view))
		off, limit = from+n, limit-int(n)
		if off < s.off+s.n {
			return b, off, nil
		}
	}
	b.Done = true
	return b, max(off, f.view.Size()), nil
}

// zero reports whether a range is all zeroes.
func (f *fixed) zero(off, n int64) (bool, error) {
	p := make([]byte, n)
	if _, err := f.view.ReadAt(p, off); err != nil && err != io.EOF {
		return false, err
	}
	for _, b := range p {
		if b != 0 {
			return false, nil
		}
	}
	return true, nil
}
