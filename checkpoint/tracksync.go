package checkpoint

import "context"

// A synchronisation is changes that happened before anybody tracked: they are added to the open
// epoch, and are taken like the others while the guest goes on. Whoever tracks before he adds
// misses nothing.

// AddChanged has taken what differs from a point. The other side has that point, and no more.
// It returns how many bytes there are, data and zeroes.
func (t *Tracker) AddChanged(ctx context.Context, since uint32) (int64, error) {
	var total int64
	err := t.s.Changed(ctx, since, func(off, n int64, _ bool) error {
		total += n
		return t.Add(off, n)
	})
	return total, err
}

// AddAllocated has taken what a full copy brings. The other side has a new volume on the same base.
func (t *Tracker) AddAllocated(ctx context.Context) (int64, error) {
	var total int64
	err := t.s.Allocated(ctx, func(off, n int64, _ bool) error {
		total += n
		return t.Add(off, n)
	})
	return total, err
}
