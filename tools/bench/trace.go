package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/belay-vm/belay/bpf"
	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/tools/bench/report"
)

func traceVerb() *cobra.Command {
	o, without := defaults(), ""
	o.size = 256 << 20
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Measure what it costs to be traced, and the tracer against the load generator",
		Long: `Measure the same server with a tracer attached and without one, in interleaved rounds; a second
server of the same program (A/A); and, with --without, one of a program without probe points.
Then compare the tracer's percentiles with those of the load generator. It needs root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(cmd.Flags().Changed); err != nil {
				return err
			}
			return measureTracing(cmd.Context(), &o, without, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.flags(cmd.Flags())
	cmd.Flags().StringVar(&without, "without", without, "a belay without probe points")
	return cmd
}

// traceLoad is a load under which tracing is measured.
type traceLoad struct {
	name   string
	memory bool
	load   load
}

var traceLoads = []traceLoad{
	{"randread-qd32", false, load{bs: 4 * kib, depth: 32, sure: true}},
	{"randwrite-qd32", false, load{write: true, bs: 4 * kib, depth: 32, sure: true}},
	{"randread-qd1", false, load{bs: 4 * kib, depth: 1, sure: true}},
	{"shm-randread-qd32", true, load{bs: 4 * kib, depth: 32, sure: true}},
	{"shm-randread-qd1", true, load{bs: 4 * kib, depth: 1, sure: true}},
}

// Percentiles of the latencies without what may be the load generator's own.
const (
	sureP50 report.Metric = "sure_p50_us"
	sureP99 report.Metric = "sure_p99_us"
)

// Names of what is measured in a round.
const (
	untraced = "not traced"
	traced   = "traced"
	kernel   = "traced, --kernel"
	twin     = "not traced, again"
	pointed  = "without points"
)

// measureTracing measures each load that --rows names.
func measureTracing(ctx context.Context, o *options, without string, out, progress io.Writer) error {
	want, err := regexp.Compile("^(?:" + o.rows + ")")
	if err != nil {
		return fmt.Errorf("--rows: %w", err)
	}
	s := newShow(progress, o.rounds*len(traceLoads)*5)
	l, err := newLab(o, s)
	if err != nil {
		return err
	}
	defer l.close()
	defer func() { s.end(err) }()
	for _, t := range traceLoads {
		if !want.MatchString(t.name) {
			continue
		}
		c := newComparison(t, without)
		if err = c.measure(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if err = c.print(out); err != nil {
			return err
		}
	}
	return nil
}

// comparison is one load and what was measured under it, round by round.
type comparison struct {
	traceLoad
	servers map[string]*backend
	order   []string
	seen    map[string][]values // by what was measured
	told    []values            // percentiles by the tracer, of the traced ones
}

func newComparison(t traceLoad, without string) *comparison {
	c := &comparison{traceLoad: t, seen: map[string][]values{}, order: []string{untraced, traced, twin, kernel}}
	first := traceBackend("belay", t.memory, "")
	c.servers = map[string]*backend{untraced: first, traced: first, kernel: first,
		twin: traceBackend("belay again", t.memory, "")}
	if without != "" {
		c.order = append(c.order, pointed)
		c.servers[pointed] = traceBackend(pointed, t.memory, without)
	}
	return c
}

// traceBackend is a volume served by a program, the one under test where none is named.
func traceBackend(name string, memory bool, program string) *backend {
	create := func(ctx context.Context, l *lab, at, socket string) ([]string, error) {
		args, err := createVolume(ctx, l, at, socket)
		if err == nil && program != "" {
			args[0], err = filepath.Abs(program)
		}
		return args, err
	}
	return &backend{name: name, state: steady.state, memory: memory, volume: true, room: 2,
		create: create, settle: scatter}
}

func (c *comparison) measure(ctx context.Context, l *lab) error {
	for _, name := range c.order {
		if err := c.servers[name].prepare(ctx, l); err != nil {
			return err
		}
	}
	for round := range l.o.rounds {
		for turn := range c.order {
			name := c.order[(round+turn)%len(c.order)]
			l.show.doing(fmt.Sprintf("%s, round %d of %d: %s", c.name, round+1, l.o.rounds, name))
			if err := c.turn(ctx, l, name); err != nil {
				return err
			}
			l.show.step()
		}
	}
	return nil
}

func (c *comparison) turn(ctx context.Context, l *lab, name string) (err error) {
	b := c.servers[name]
	var v values
	if name == traced || name == kernel {
		v, err = c.underTracer(ctx, l, name)
	} else {
		v, err = b.measure(ctx, l, c.load, apart)
	}
	c.seen[name] = append(c.seen[name], v)
	return err
}

// underTracer measures with a tracer, and keeps what that says.
func (c *comparison) underTracer(ctx context.Context, l *lab, name string) (values, error) {
	b := c.servers[name]
	s, err := l.server(ctx, b)
	if err != nil {
		return nil, err
	}
	t, err := bpf.Attach(bpf.Options{PID: s.PID(), Kernel: name == kernel})
	if err != nil {
		return nil, err
	}
	v, err := b.measure(ctx, l, c.load, apart)
	if err != nil {
		return nil, err
	}
	snapshot, err := t.Snapshot()
	if err != nil || name == kernel {
		return v, errors.Join(err, t.Close())
	}
	var total hist.Histogram
	for _, p := range snapshot.Parts {
		total.Add(&p.Total)
	}
	c.told = append(c.told, values{report.P50: us(int64(total.Quantile(0.5))),
		report.P99: us(int64(total.Quantile(0.99)))})
	return v, t.Close()
}

// print shows medians, and in brackets the quartiles, of what was found within rounds.
func (c *comparison) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tIOPS\tratio\tp50\tdifference\tCPU a request\tdifference\n", c.name)
	for _, name := range c.order {
		base := c.seen[untraced]
		ratio := between(c.seen[name], base, report.IOPS, divide)
		fmt.Fprintf(w, "  %s\t%.0f\t%s\t%.1f us\t%s\t%.2f us\t%s\n", name, median(c.seen[name], report.IOPS),
			spread(ratio, 3), median(c.seen[name], report.P50), spread(minus(c.seen[name], base, report.P50), 2),
			median(c.seen[name], report.CPU), spread(minus(c.seen[name], base, report.CPU), 3))
	}
	fmt.Fprintf(w, "\ttracer\tgenerator\ttracer to it\twithout its own part\ttracer to that\n")
	for _, m := range []report.Metric{report.P50, report.P99} {
		var its []values
		for _, v := range c.seen[traced] {
			its = append(its, values{m: v["sure_"+m]})
		}
		fmt.Fprintf(w, "  %s\t%.1f us\t%.1f us\t%s\t%.1f us\t%s\n", m, median(c.told, m),
			median(c.seen[traced], m), spread(between(c.told, c.seen[traced], m, divide), 3),
			median(its, m), spread(between(c.told, its, m, divide), 3))
	}
	return w.Flush()
}

func divide(x, y float64) float64 { return x / y }

func minus(a, b []values, m report.Metric) []float64 {
	return between(a, b, m, func(x, y float64) float64 { return x - y })
}

// between compares two entries in each round.
func between(a, b []values, m report.Metric, f func(x, y float64) float64) []float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		all = append(all, f(a[i][m], b[i][m]))
	}
	return all
}

func median(of []values, m report.Metric) float64 {
	return report.SpreadOf(between(of, of, m, func(x, _ float64) float64 { return x })).Median
}

func spread(of []float64, digits int) string {
	s := report.SpreadOf(of)
	n := func(v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	return fmt.Sprintf("%s [%s, %s]", n(s.Median), n(s.Q1), n(s.Q3))
}
