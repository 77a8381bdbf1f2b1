package main

import (
	"context"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
)

// exportPiece is how much of a disk is read at once.
const exportPiece = 1 << 20

func (v *volume) Export(ctx context.Context, at string, to control.Sink) error {
	id := uint32(0) // now
	if at != "" {
		p, err := v.store.Find(at)
		if err != nil {
			return told(err)
		}
		id = p.ID
	}
	view, err := v.store.View(id)
	if err != nil {
		return told(err)
	}
	err = exportView(ctx, view, to)
	if closed := view.Close(); err == nil {
		err = told(closed)
	}
	return err
}

// exportView sends what is not zero in a view.
func exportView(ctx context.Context, view *checkpoint.View, to control.Sink) error {
	if err := to.Begin(view.Size()); err != nil {
		return err
	}
	buf := make([]byte, exportPiece)
	for off := int64(0); off < view.Size(); {
		start, n, err := view.NextData(off)
		if err != nil {
			return told(err)
		}
		if n == 0 {
			return nil
		}
		for off = start; off < start+n; {
			if err := ctx.Err(); err != nil {
				return control.AsError(err)
			}
			p := buf[:min(exportPiece, start+n-off)]
			if _, err := view.ReadAt(p, off); err != nil {
				return told(err)
			}
			err := runs(p, off, func(p []byte, off int64, blank bool) error {
				if blank {
					return nil
				}
				return to.Data(p, off)
			})
			if err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}
