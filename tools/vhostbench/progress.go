package main

import (
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progressInterval is how often the bar moves. It takes processor time from the load.
const progressInterval = 500 * time.Millisecond

// progress shows on a terminal, and nowhere else, how far the run has come.
type progress struct {
	all   *mpb.Progress
	one   *mpb.Bar
	stop  chan struct{}
	ended chan struct{}
}

func (j *job) showProgress(w io.Writer) *progress {
	p := &progress{stop: make(chan struct{}), ended: make(chan struct{})}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		close(p.ended)
		return p
	}
	_, total := j.progress()
	p.all = mpb.New(mpb.WithOutput(f), mpb.WithWidth(60), mpb.WithRefreshRate(progressInterval),
		mpb.WithAutoRefresh())
	p.one = p.all.AddBar(total, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(j.o.op+" ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	go p.main(j)
	return p
}

func (p *progress) main(j *job) {
	defer close(p.ended)
	ticks := time.NewTicker(progressInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			done, total := j.progress()
			p.one.SetCurrent(min(done, total-1)) // complete when it is told so
		case <-p.stop:
			return
		}
	}
}

// progress is how much is done of how much: requests where their number is known, else time.
func (j *job) progress() (done, total int64) {
	for _, w := range j.workers {
		if w.share > 0 {
			done, total = done+w.sent.Load(), total+w.share
		}
	}
	if total > 0 {
		return done, total
	}
	return j.clock(), int64(j.o.ramp + j.o.duration)
}

// close takes the bar away.
func (p *progress) close() {
	close(p.stop)
	<-p.ended
	if p.one != nil {
		p.one.Abort(true)
		p.all.Wait()
	}
}
