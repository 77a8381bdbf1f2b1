package pair

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// source is a tracker as a session takes it: what changed, and before that what a synchronisation has
// to bring.
type source struct {
	tracker *checkpoint.Tracker
	data    io.ReaderAt // the store's data area

	// Of a synchronisation:
	left int64        // bytes that are to be taken before the disk is at a point; below 0: it is
	cut  func() error // puts the point; nil: the tracker is cut by others
}

func newSource(v *volume, t *checkpoint.Tracker) *source {
	return &source{tracker: t, data: v.DataReader()}
}

// Next takes a batch. A synchronisation ends at a point behind all that it had to bring: what changes
// meanwhile comes once more, but that is not waited for.
func (s *source) Next(limit int) (mirror.Batch, error) {
	b, err := s.tracker.Next(int64(limit))
	if err != nil {
		return mirror.Batch{}, err
	}
	if s.cut != nil && s.left >= 0 && (b == nil || s.left <= bytesOf(b)) {
		s.left = -1
		if err := s.cut(); err != nil {
			if b != nil {
				b.Return()
			}
			return mirror.Batch{}, err
		}
		if b == nil {
			return s.Next(limit)
		}
	}
	if b == nil {
		return mirror.Batch{Wait: s.tracker.Ready()}, nil
	}
	s.left = max(s.left-bytesOf(b), -1)
	return s.batch(b), nil
}

func bytesOf(b *checkpoint.Batch) (n int64) {
	for _, c := range b.Changes {
		n += c.Len
	}
	return n
}

// block is what the data area is made of, in bytes.
const block = 4096

// batch makes a batch of the tracker's one of a session. What lies in whole blocks of the data area is
// taken from there, in the order in which it lies: what was written together lies together, wherever on
// the disk it belongs, and is read at once.
func (s *source) batch(b *checkpoint.Batch) mirror.Batch {
	out := mirror.Batch{Done: b.Done, Verify: b.Verify, Release: func(arrived bool) {
		if arrived {
			b.Release()
		} else {
			b.Return()
		}
	}}
	whole := func(c checkpoint.Change) bool { return c.Place >= 0 && c.Len%block == 0 }
	for _, c := range b.Changes {
		m := mirror.Change{Off: c.Off, Len: c.Len, Zero: c.Zero, Sum: c.Sum, Summed: c.Summed,
			From: batchReader{b}, At: c.Off}
		if whole(c) {
			m.From, m.At = s.data, c.Place
		}
		out.Changes = append(out.Changes, m)
	}
	slices.SortFunc(out.Changes, func(x, y mirror.Change) int {
		_, xRest := x.From.(batchReader)
		_, yRest := y.From.(batchReader)
		if xRest != yRest {
			return map[bool]int{false: -1, true: 1}[xRest] // the rest does not suit direct I/O behind it
		}
		return cmp.Compare(x.At, y.At)
	})
	return out
}

// batchReader reads what a batch names, by bytes of the disk: what is of the base image, and a last block
// that is none.
type batchReader struct{ b *checkpoint.Batch }

func (r batchReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.b.ReadAt(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lack has a tracker take all that a partner lacks who has what the disk was at a point, 0: nothing,
// and beyond that those ranges. It returns how many bytes that is.
func lack(ctx context.Context, v *volume, t *checkpoint.Tracker, since uint32,
	have []mirror.Range) (int64, error) {
	all := int64(0)
	add := func(off, n int64, _ bool) error {
		for _, r := range mirror.Without([]mirror.Range{{Off: off, Len: n}}, have) {
			all += r.Len
			if err := t.Add(r.Off, r.Len); err != nil {
				return fmt.Errorf("what is to be sent: %w", err)
			}
		}
		return nil
	}
	var err error
	switch {
	case since != 0:
		err = v.Changed(ctx, since, add)
	case v.Status().Base != "": // the partner's disk begins as zeroes, not as the image
		err = add(0, v.Size(), false)
	default:
		err = v.Allocated(ctx, add)
	}
	return all, err
}
