package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/belay-vm/belay/internal/screen"
	"github.com/belay-vm/belay/internal/trace"
	"golang.org/x/sys/unix"
)

// watched is a source that knows what it could not look at.
type watchedSource interface {
	trace.Source
	Notes() []string
}

// attached is such a source that looks at a process until it is closed.
type attached interface {
	watchedSource
	Close() error
}

// watching is one trace under way.
type watching struct {
	app      *app
	source   watchedSource
	options  traceOptions
	recorder *trace.Recorder // nil: no recording
	total    trace.Interval
}

// watch shows what the source counts, until the context or the time ends, or what is traced does.
func (a *app) watch(ctx context.Context, src watchedSource, t traced, o traceOptions) (err error) {
	w := &watching{app: a, source: src, options: o}
	if o.record != "" {
		file, err := os.Create(o.record)
		if err != nil {
			return reason(err)
		}
		defer func() { err = errors.Join(err, reason(file.Close())) }()
		if w.recorder, err = trace.NewRecorder(file, t.header(src.Notes())); err != nil {
			return reason(err)
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	forget, err := whenGone(t.pid, func() { stop(errGone) })
	if err != nil {
		return err
	}
	defer forget()
	if o.duration > 0 {
		defer time.AfterFunc(o.duration, func() { stop(nil) }).Stop()
	}
	if terminal(a.stdout) && terminal(a.stdin) && !a.json && !o.once {
		err = w.page(ctx, t)
	} else {
		err = w.lines(ctx)
	}
	if err == nil && context.Cause(ctx) == errGone {
		fmt.Fprintf(a.stderr, "belay: process %d has ended\n", t.pid)
	}
	return err
}

var errGone = errors.New("what was traced has ended")

// whenGone calls f when a process ends, unless it is forgotten before.
func whenGone(pid int, f func()) (forget func(), err error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "process")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		asked := false
		// A pidfd is readable when its process has ended. The runtime waits for that before it asks again.
		err := raw.Read(func(uintptr) bool {
			defer func() { asked = true }()
			return asked
		})
		if err == nil {
			f()
		}
	}()
	return func() {
		_ = file.Close() // ends the wait
		<-done
	}, nil
}

// collect reads the source at each interval, records what it reads, and hands it on.
func (w *watching) collect(ctx context.Context, each func(*trace.Interval) error) error {
	ticker := time.NewTicker(w.options.interval)
	defer ticker.Stop()
	return trace.Collect(ctx, w.source, ticker.C, func(iv *trace.Interval) error {
		if w.recorder != nil {
			if err := w.recorder.Add(iv); err != nil {
				return reason(err)
			}
		}
		w.total.Append(iv)
		if over := len(w.total.Events) - maxTotalEvents; over > 0 {
			w.total.Events = w.total.Events[over:]
		}
		return each(iv)
	})
}

// maxTotalEvents bounds what a trace that runs for weeks remembers of its events.
const maxTotalEvents = 1000

// page is the trace on a terminal; what is left of it in the end is the summary of the whole run.
func (w *watching) page(ctx context.Context, t traced) error {
	view := trace.NewView(t.title(), w.source.Notes())
	err := screen.Show(ctx, w.app.stdin, w.app.stdout, view,
		func(ctx context.Context, change func(func())) error {
			return w.collect(ctx, func(iv *trace.Interval) error {
				change(func() { view.Add(iv) })
				return nil
			})
		})
	if err == nil {
		w.summary(w.app.stdout)
	}
	return err
}

// lines is the trace elsewhere.
func (w *watching) lines(ctx context.Context) error {
	out := w.app.stdout
	one, enough := context.WithCancel(ctx)
	defer enough()
	if !w.app.json && !w.options.once {
		fmt.Fprintln(out, trace.LineHead)
	}
	err := w.collect(one, func(iv *trace.Interval) error {
		if w.options.once && one.Err() != nil && ctx.Err() == nil {
			return nil // what is left after the one
		}
		defer func() {
			if w.options.once {
				enough()
			}
		}()
		switch {
		case w.app.json:
			return json.NewEncoder(out).Encode(trace.Summarize(iv, w.options.histogram))
		case w.options.once:
			s := trace.Summarize(iv, w.options.histogram)
			s.Print(out, w.source.Notes())
		case iv.Span >= w.options.interval/4: // rates of the last moment would say little
			trace.PrintLine(out, iv)
		}
		return nil
	})
	if err == nil && !w.app.json && !w.options.once {
		fmt.Fprintln(out)
		w.summary(out)
	}
	return err
}

func (w *watching) summary(out io.Writer) {
	if w.total.Span > 0 {
		s := trace.Summarize(&w.total, w.options.histogram)
		s.Print(out, w.source.Notes())
	}
}
