package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/belay-vm/belay/tools/bench/report"
)

// show is what whoever watches sees: on a terminal a bar, which is drawn between measurements and
// never during one, and everywhere a few lines for each row that is done.
type show struct {
	out   io.Writer
	now   atomic.Value // string: what is going on
	all   *mpb.Progress
	bar   *mpb.Bar // nil: not on a terminal
	draw  chan any
	begun time.Time
}

func newShow(out io.Writer, steps int) *show {
	s := &show{out: out, begun: time.Now()}
	s.now.Store("")
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.draw = make(chan any)
	s.all = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithManualRefresh(s.draw))
	s.bar = s.all.AddBar(int64(steps),
		mpb.PrependDecorators(decor.CountersNoUnit("%d / %d "), decor.AverageETA(decor.ET_STYLE_MMSS)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return s.now.Load().(string) })))
	return s
}

func (s *show) refresh() {
	if s.bar != nil {
		s.draw <- time.Now()
	}
}

// doing says what comes next.
func (s *show) doing(what string) {
	s.now.Store(what)
	s.refresh()
}

// step counts a measurement.
func (s *show) step() {
	if s.bar != nil {
		s.bar.Increment()
	}
}

// row shows what a row gave.
func (s *show) row(r *report.Row, short bool) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%5.0f s  ", time.Since(s.begun).Seconds())
	r.Brief(&text, short)
	if s.bar == nil {
		_, _ = s.out.Write(text.Bytes()) // nobody is there to be told
		return
	}
	_, _ = s.all.Write(text.Bytes()) // as above
	s.refresh()
}

func (s *show) end(err error) {
	if s.bar == nil {
		return
	}
	if err != nil {
		s.bar.Abort(true)
	}
	s.refresh()
	s.all.Shutdown()
}
