package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// run measures, saves and shows.
func run(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	chosen, scale, err := o.choose()
	if err != nil {
		return err
	}
	if err := o.check(chosen, scale); err != nil {
		return err
	}
	r, err := newResult(ctx, o)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = filepath.Join(results, r.Date.Format("20060102-1504")+"-"+r.Commit)
	}
	if r.Rows, err = measureRows(ctx, o, chosen, stderr); err != nil {
		return err
	}
	if scale {
		fmt.Fprintln(stderr, "the store itself (go test ./checkpoint), which takes some minutes")
		if r.Figures, err = measureStore(ctx, o, stderr); err != nil && ctx.Err() == nil {
			// The rows took long and stand on their own.
			fmt.Fprintln(stderr, "bench: without figures of the store:", err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.Machine.Load[1] = report.LoadNow()
	if err := r.Save(o.out); err != nil {
		return err
	}
	if err := r.Table(stdout); err != nil {
		return err
	}
	fmt.Fprintln(stderr, "saved in", o.out)
	return nil
}

// newResult is a result with everything but what is measured.
func newResult(ctx context.Context, o *options) (*report.Result, error) {
	machine, err := report.Describe(o.dir)
	if err != nil {
		return nil, fmt.Errorf("describe this machine: %w", err)
	}
	r := &report.Result{
		Date: time.Now().Round(time.Second), Commit: report.Commit(ctx), Short: o.short, Machine: machine,
		Versions: versions(ctx, o), Settings: report.Settings{Rounds: o.rounds, Seconds: o.seconds.Seconds(),
			Ramp: o.ramp.Seconds(), Size: o.bytes(), BackendCPU: o.backendCPU, ClientCPU: o.clientCPU},
	}
	r.Machine.Load[0] = report.LoadNow()
	return r, nil
}

// measureRows measures the rows one after the other, with everything that they need made before
// and gone behind them.
func measureRows(ctx context.Context, o *options, chosen []row, out io.Writer) (_ []report.Row, err error) {
	done := []report.Row{}
	if len(chosen) == 0 {
		return done, nil
	}
	s := newShow(out, steps(o, chosen))
	defer func() { s.end(err) }()
	l, err := newLab(o, s)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := o.room(l, chosen); err != nil {
		return nil, err
	}
	for _, one := range chosen {
		got, err := l.measureRow(ctx, one)
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", one.name, err)
		}
		done = append(done, got)
		s.row(&got, o.short)
	}
	return done, nil
}

// steps is how many measurements a run has.
func steps(o *options, chosen []row) int {
	n := 0
	for _, r := range chosen {
		n += len(r.entries) * o.rounds
	}
	return n
}

func (l *lab) measureRow(ctx context.Context, r row) (report.Row, error) {
	got := report.Row{Name: r.name, Title: r.title, Placement: r.place.describe(l.o), Targets: r.targets}
	for _, e := range r.entries {
		got.Entries = append(got.Entries, e.Entry)
		if err := e.subject.prepare(ctx, l); err != nil {
			return got, err
		}
	}
	order := spaced(r.entries)
	for round := range l.o.rounds {
		for turn := range order {
			e := r.entries[order[(turn+round)%len(order)]]
			l.show.doing(fmt.Sprintf("%s, round %d of %d: %s", r.name, round+1, l.o.rounds, e.Name))
			v, err := l.measure(ctx, r, e)
			if err != nil {
				return got, err
			}
			got.Samples = append(got.Samples, report.Sample{Round: round, Turn: turn, Entry: e.Name, Values: v})
			l.show.step()
		}
	}
	return got, nil
}

func (l *lab) measure(ctx context.Context, r row, e entry) (values, error) {
	ld := r.load
	if e.load != nil {
		ld = *e.load
	}
	return e.subject.measure(ctx, l, ld, r.place)
}

// spaced is the order of turns: that of the table, with second measurements half a round from the
// first ones. Next to each other they would see less of the machine's drift than pairs of others.
func spaced(entries []entry) []int {
	var order []int
	for i, e := range entries {
		if e.Repeats == "" {
			order = append(order, i)
		}
	}
	half := (len(entries) + 1) / 2
	for i, e := range entries {
		if e.Repeats != "" {
			order = slices.Insert(order, min(half, len(order)), i)
		}
	}
	return order
}

// versions of everything that is measured, for what is there.
func versions(ctx context.Context, o *options) map[string]string {
	return map[string]string{
		"belay":       report.FirstLine(ctx, o.belay, "version"),
		fioProgram:    report.FirstLine(ctx, fioProgram, "--version"),
		storageDaemon: report.FirstLine(ctx, storageDaemon, "--version"),
		"go":          runtime.Version(),
	}
}
