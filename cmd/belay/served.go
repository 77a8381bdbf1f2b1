package main

import (
	"context"
	"fmt"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
)

// served is the volume that this process serves, as the control socket offers it.
type served struct {
	control.Volume

	// gate is nil where the one front end came with the process and leaves with it.
	gate    *gate
	changed func() // tells the front end that the disk has another size
	serving func() control.Serving
	stats   func() []blk.QueueStats
}

func (s *served) Status(ctx context.Context) (control.Status, error) {
	st, err := s.Volume.Status(ctx)
	if err != nil {
		return st, err
	}
	serving := s.serving()
	st.Server = &serving
	return st, nil
}

func (s *served) Rollback(ctx context.Context, to string) (control.Rollback, error) {
	return s.alone(func() (control.Rollback, error) { return s.Volume.Rollback(ctx, to) })
}

func (s *served) Undo(ctx context.Context) (control.Rollback, error) {
	return s.alone(func() (control.Rollback, error) { return s.Volume.Undo(ctx) })
}

// alone runs a rollback while no front end is there and none can come.
func (s *served) alone(work func() (control.Rollback, error)) (r control.Rollback, err error) {
	if s.gate == nil || !s.gate.alone(func() { r, err = work() }) {
		return r, &control.Error{Code: control.CodeInUse, Message: "a front end is connected; " +
			"a running or paused guest would find an old disk under new memory; shut it down first"}
	}
	return r, err
}

func (s *served) Resize(ctx context.Context, size int64, force bool) (control.Resized, error) {
	r, err := s.Volume.Resize(ctx, size, force)
	if err == nil {
		s.changed()
	}
	return r, err
}

// Close is the owner's part, not that of whoever is connected to the control socket.
func (s *served) Close() error { return fmt.Errorf("a served volume is closed by its server") }
