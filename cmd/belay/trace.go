package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/trace"
	"github.com/spf13/cobra"
)

// Bounds of --interval.
const (
	leastInterval = 50 * time.Millisecond
	mostInterval  = time.Hour
)

// traceOptions are the choices of a trace.
type traceOptions struct {
	interval  time.Duration
	duration  time.Duration // 0: until it is stopped
	outliers  time.Duration
	record    string
	once      bool
	histogram bool
	pin       bool
	unpin     bool
	kernel    bool
}

func traceVerb(a *app) *cobra.Command {
	o := traceOptions{interval: time.Second, outliers: 10 * time.Millisecond}
	cmd := &cobra.Command{
		Use:   "trace (VOLUME | PID)",
		Short: "Show where the time of a served volume's requests goes",
		Long: `Attach to the process that serves a volume, by eBPF, and show until it is stopped where the time
of the requests goes: in the ring, in belay's store, with the device below, or in publishing
the answer. The process is not restarted and need not know; it is left as it was, also when the
tracer is killed.

On a terminal this is a page with a heat map of the latencies over time, checkpoints marked in
it; elsewhere it is a line for each interval and a summary at the end. With --json each interval
is one line with one object, whose times are nanoseconds.

Tracing needs root (or CAP_BPF and CAP_PERFMON) and a kernel with uprobes. 'belay top' and the
metrics on the control socket need neither.

While it traces, the maps are in /sys/fs/bpf/belay/NAME, NAME being that of the volume's
directory, for bpftool. With --pin they go on counting when belay trace has returned, until
--unpin.`,
		Example: `  belay trace /var/lib/belay/web
  belay trace /var/lib/belay/web --duration 1m --record web.trace
  belay trace /var/lib/belay/web --once --histogram
  belay trace 4711 --json --outliers 100ms --kernel
  belay trace report web.trace --out web.svg`,
		Args:              operands("VOLUME or PID"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.trace(cmd.Context(), args[0], o)
		}),
	}
	f := cmd.Flags()
	f.DurationVar(&o.interval, "interval", o.interval, "from one reading to the next")
	f.DurationVar(&o.duration, "duration", o.duration, "stop after this time (default: when it is stopped)")
	f.Lookup("duration").DefValue = "0s"
	f.DurationVar(&o.outliers, "outliers", o.outliers, "list requests that took at least this long; 0 for none")
	f.StringVar(&o.record, "record", o.record, "write a recording, for 'belay trace report'")
	f.BoolVar(&o.once, "once", o.once, "print the summary of one interval")
	f.BoolVar(&o.histogram, "histogram", o.histogram, "print the distribution of each part, too")
	f.BoolVar(&o.kernel, "kernel", o.kernel, "look at io_uring and block devices, too: 1 µs for each operation")
	f.BoolVar(&o.pin, "pin", o.pin, "begin to count in pinned maps and return")
	f.BoolVar(&o.unpin, "unpin", o.unpin, "end what --pin began")
	cmd.AddCommand(reportVerb(a))
	return cmd
}

// check refuses what does not fit together.
func (o *traceOptions) check() error {
	switch {
	case o.interval < leastInterval || o.interval > mostInterval:
		return usagef("--interval is between %v and %v, not %v", leastInterval, mostInterval, o.interval)
	case o.duration < 0:
		return usagef("--duration is not negative")
	case o.outliers < 0:
		return usagef("--outliers is not negative")
	case o.once && o.duration > 0:
		return usagef("--once and --duration exclude each other")
	case o.pin && o.unpin:
		return usagef("--pin and --unpin exclude each other")
	case (o.pin || o.unpin) && (o.once || o.duration > 0 || o.record != ""):
		return usagef("--pin and --unpin return at once; --once, --duration and --record exclude them")
	}
	return nil
}

// traced is what is traced.
type traced struct {
	pid  int
	dir  string // the volume; empty where it is not known
	pins string // name of the pins' directory
}

func (t traced) title() string {
	if t.dir == "" {
		return fmt.Sprintf("process %d", t.pid)
	}
	return fmt.Sprintf("%s (process %d)", t.dir, t.pid)
}

// volume is what a recording calls it.
func (t traced) volume() string {
	if t.dir == "" {
		return t.title()
	}
	return absolute(t.dir)
}

func (a *app) trace(ctx context.Context, what string, o traceOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.unpin {
		return about(what, a.unpin(what))
	}
	target, err := findTraced(ctx, what)
	if err != nil {
		return about(what, err)
	}
	t, err := attach(target, &o)
	if err != nil {
		return about(what, err)
	}
	if o.pin {
		err = a.pinned(target, t.Notes())
	} else {
		err = a.watch(ctx, t, target, o)
	}
	return about(what, errors.Join(err, t.Close()))
}

// findTraced finds the process that serves a volume, or the volume of a process.
func findTraced(ctx context.Context, what string) (traced, error) {
	if pid, err := strconv.Atoi(what); err == nil && pid > 0 {
		if _, err := os.Stat(what); err != nil { // no directory of that name
			t := traced{pid: pid, dir: processOf(pid), pins: what}
			if t.dir != "" {
				t.pins = pinName(t.dir)
			}
			return t, nil
		}
	}
	client, err := control.Dial(what)
	if errors.Is(err, control.ErrNotServed) {
		return traced{}, fmt.Errorf("%w: there is nothing to trace", err)
	}
	if err != nil {
		return traced{}, err
	}
	st, err := client.Status(ctx)
	if err = errors.Join(err, client.Close()); err != nil {
		return traced{}, err
	}
	return traced{st.Server.PID, what, pinName(what)}, nil
}

// pinName is the name of a volume's directory below /sys/fs/bpf/belay.
func pinName(dir string) string { return filepath.Base(absolute(dir)) }

// pinned says what goes on when the verb has returned.
func (a *app) pinned(t traced, notes []string) error {
	answer := struct {
		PID   int      `json:"pid"`
		Dir   string   `json:"pins"`
		Notes []string `json:"notes,omitempty"`
	}{t.pid, pinDir(t.pins), notes}
	return a.print(answer, func(w io.Writer) {
		for _, n := range notes {
			fmt.Fprintf(w, "note: %s\n", n)
		}
		fmt.Fprintf(w, "counting in %s until 'belay trace --unpin'\n", answer.Dir)
	})
}

func (a *app) unpin(what string) error {
	name := pinName(what)
	if pid, err := strconv.Atoi(what); err == nil && processOf(pid) != "" {
		name = pinName(processOf(pid))
	}
	if err := unpin(name); err != nil {
		return err
	}
	return a.print(map[string]string{"unpinned": pinDir(name)}, func(w io.Writer) {
		fmt.Fprintln(w, "nothing counts any more")
	})
}

// header is the first line of a recording of it.
func (t traced) header(notes []string) trace.Header {
	return trace.Header{Volume: t.volume(), PID: t.pid, Program: programVersion().Version, Begun: time.Now(),
		Notes: notes}
}
