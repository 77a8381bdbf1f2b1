package main

import (
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar shows how far a long operation has come, on a terminal and nowhere else. The bar of an
// operation that reports nothing never appears.
type bar struct {
	out   io.Writer // nil: shows nothing
	name  string
	bytes bool // what it counts
	total int64
	all   *mpb.Progress
	one   *mpb.Bar
}

func (a *app) bar(name string, bytes bool) *bar {
	b := &bar{name: name, bytes: bytes}
	if terminal(a.stderr) {
		b.out = a.stderr
	}
	return b
}

// set moves the bar. It is a control.Progress.
func (b *bar) set(done, total int64) {
	if b.out == nil || total <= 0 {
		return
	}
	if b.one == nil {
		counters := decor.CountersNoUnit("%d / %d")
		if b.bytes {
			counters = decor.CountersKibiByte("% .1f / % .1f")
		}
		b.all = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(60), mpb.WithAutoRefresh())
		// A bar made without a total is complete when it is told so, and not before.
		b.one = b.all.AddBar(0,
			mpb.PrependDecorators(decor.Name(b.name+" "), counters),
			mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	b.total = total
	b.one.SetTotal(total, false)
	b.one.SetCurrent(done)
}

// end takes the bar away: as complete, or as it was where the operation failed.
func (b *bar) end(err error) {
	if b.one == nil {
		return
	}
	if err == nil {
		b.one.SetCurrent(b.total) // what was left out were zeroes
		b.one.SetTotal(b.total, true)
	} else {
		b.one.Abort(false)
	}
	b.all.Wait()
}

var _ control.Progress = (*bar)(nil).set
