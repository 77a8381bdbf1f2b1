package main

import (
	"context"
	"io"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
)

func (disk) Check(ctx context.Context, dir string, p control.Progress) (control.Report, error) {
	r, err := checkpoint.Check(ctx, dir, p)
	return report(r), told(err)
}

func (v *volume) Check(ctx context.Context, p control.Progress) (control.Report, error) {
	r, err := v.store.Check(ctx, p)
	return report(r), told(err)
}

func report(r checkpoint.CheckReport) control.Report {
	return control.Report{Pages: r.Pages, Records: r.Records, Blocks: r.Blocks, Slots: r.Slots,
		Unused: r.Unused, Data: r.Data, Faults: r.Faults}
}

func (disk) Dump(dir string, w io.Writer, asJSON bool) error {
	return told(checkpoint.Dump(dir, w, asJSON))
}

func (v *volume) Dump(_ context.Context, w io.Writer, asJSON bool) error {
	return told(v.store.Dump(w, asJSON))
}
