package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
)

// disk reaches volumes in directories of the host.
type disk struct{}

func (disk) Create(dir string, o createOptions) error {
	return told(checkpoint.Create(dir, checkpoint.CreateOptions{
		Size: o.Size, Base: o.Base, BaseFormat: o.BaseFormat, Data: o.Data, Force: o.Force,
		Checksums: o.Checksums, Slack: o.Slack, JournalSize: o.Journal,
	}))
}

func (disk) Open(dir string, readOnly bool) (offline, error) {
	s, err := checkpoint.Open(dir, checkpoint.Options{ReadOnly: readOnly, LockWait: lockWait(dir)})
	if err != nil {
		return nil, told(err)
	}
	return &volume{s, dir}, nil
}

// lockWait is how long to wait for a volume's lock: not at all while a server is alive, otherwise
// as long as the last I/O of one that was killed may take.
func lockWait(dir string) time.Duration {
	if alive, err := control.Alive(filepath.Join(dir, control.SocketName)); err != nil || alive {
		return 0
	}
	return 10 * time.Second
}

// volume is a store in the words of the control interface.
type volume struct {
	store *checkpoint.Store
	dir   string
}

func (v *volume) Close() error { return told(v.store.Close()) }

func (v *volume) Size() int64 { return v.store.Size() }

func (v *volume) WriteAt(p []byte, off int64) (int, error) {
	n, err := v.store.WriteAt(p, off)
	return n, told(err)
}

func (v *volume) Zero(off, n int64) error { return told(v.store.Zero(off, n)) }

func (v *volume) Sync() error { return told(v.store.Sync()) }

// refused tells why a change failed. Where the volume is open for reading only, that is the
// reason.
func (v *volume) refused(err error) error {
	if err != nil && v.store.ReadOnly() {
		return control.Wrap(control.CodeReadOnly, err)
	}
	return told(err)
}

func (v *volume) Start(_ context.Context, name string) (control.Point, error) {
	p, err := v.store.Start(name, name != "")
	return point(p), v.refused(err)
}

func (v *volume) Retire(ctx context.Context) (control.Point, error) {
	p, err := v.store.Retire(ctx)
	return point(p), v.refused(err)
}

func (v *volume) Checkpoint(ctx context.Context, name string) (control.Point, error) {
	p, err := v.store.Checkpoint(ctx, name)
	return point(p), v.refused(err)
}

func (v *volume) Delete(ctx context.Context, checkpoint string) (control.Point, error) {
	p, err := v.store.Find(checkpoint)
	if err != nil {
		return control.Point{}, told(err)
	}
	return point(p), v.refused(v.store.Delete(ctx, p.ID))
}

func (v *volume) Rollback(ctx context.Context, to string) (control.Rollback, error) {
	p, err := v.store.Find(to)
	if err != nil {
		return control.Rollback{}, told(err)
	}
	r, err := v.store.Rollback(ctx, p.ID)
	return rolledBack(r), v.refused(err)
}

func (v *volume) Undo(ctx context.Context) (control.Rollback, error) {
	r, err := v.store.Undo(ctx)
	return rolledBack(r), v.refused(err)
}

func (v *volume) Resize(ctx context.Context, size int64, force bool) (control.Resized, error) {
	before := v.store.Size()
	err := v.store.Resize(ctx, size, force)
	return control.Resized{Before: before, After: v.store.Size()}, v.refused(err)
}

func (v *volume) History(context.Context) (control.History, error) {
	h := control.History{Points: []control.Point{}}
	for _, p := range v.store.Points() {
		h.Points = append(h.Points, point(p))
	}
	for _, l := range v.store.Lines() {
		h.Lines = append(h.Lines, control.Line{ID: l.ID, Parent: l.Parent, Current: l.Current})
	}
	return h, nil
}
