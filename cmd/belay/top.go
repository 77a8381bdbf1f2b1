package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/belay-vm/belay/internal/screen"
	"github.com/spf13/cobra"
)

// topOptions are the choices of top.
type topOptions struct {
	interval time.Duration
	once     bool
}

func topVerb(a *app) *cobra.Command {
	o := topOptions{interval: time.Second}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the load of all volumes that this host serves",
		Long: `Show what the volumes that this host serves have to do: requests and bytes per second, how long
the requests took, how many were under way on average, checkpoints and state. The busiest comes
first. It reads what the serving processes always count, through their control sockets, and needs
no eBPF; 'belay trace' says where the time goes.

Processes that other users run, or that are in other containers, are listed as far as they can be
reached. On a terminal this is a page; elsewhere it is a table for each interval, or with --json
a line.`,
		Example: `  belay top
  belay top --interval 5s
  belay top --once --json`,
		Args: operands(),
		RunE: run(a, func(cmd *cobra.Command, _ []string) error {
			if o.interval < leastInterval || o.interval > mostInterval {
				return usagef("--interval is between %v and %v, not %v", leastInterval, mostInterval, o.interval)
			}
			return a.top(cmd.Context(), o)
		}),
	}
	f := cmd.Flags()
	f.DurationVar(&o.interval, "interval", o.interval, "from one reading to the next")
	f.BoolVar(&o.once, "once", o.once, "print one interval and end")
	return cmd
}

// topLine is one reading of all volumes.
type topLine struct {
	Time    time.Time   `json:"time"`
	Seconds float64     `json:"seconds"`
	Volumes []topVolume `json:"volumes"`
}

func (a *app) top(ctx context.Context, o topOptions) error {
	if terminal(a.stdout) && terminal(a.stdin) && !a.json && !o.once {
		page := &topPage{}
		return screen.Show(ctx, a.stdin, a.stdout, page, func(ctx context.Context, change func(func())) error {
			return readTop(ctx, o.interval, func(l topLine) error {
				change(func() { page.line = l })
				return nil
			})
		})
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	return readTop(ctx, o.interval, func(l topLine) error {
		if o.once {
			enough()
		}
		if a.json {
			return json.NewEncoder(a.stdout).Encode(l)
		}
		if !o.once {
			fmt.Fprintln(a.stdout, clock(l.Time))
		}
		_, err := fmt.Fprintln(a.stdout, topTable(l.Volumes))
		return err
	})
}

// readTop reads all volumes at each interval, until the context ends.
func readTop(ctx context.Context, interval time.Duration, each func(topLine) error) error {
	readings := newReadings()
	last := time.Now()
	if _, err := readings.read(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		volumes, err := readings.read(ctx)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil // half of it was not read
		}
		now := time.Now()
		if err := each(topLine{now, now.Sub(last).Seconds(), volumes}); err != nil {
			return err
		}
		last = now
	}
}

// topTable is the table for people.
func topTable(volumes []topVolume) string {
	if len(volumes) == 0 {
		return "no volume is served on this host"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VOLUME\tPID\tREADS/s\tWRITES/s\tREAD\tWRITTEN\tMEAN\tP99\tDEPTH\tCHECKPOINTS\tSTATE")
	for i := range volumes {
		volumes[i].print(w)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.TrimRight(b.String(), "\n")
}

// topPage is the table on a terminal.
type topPage struct{ line topLine }

func (p *topPage) Press(string) {}

func (p *topPage) Render(width, height int, _ bool) string {
	if p.line.Time.IsZero() {
		return "reading"
	}
	text := fmt.Sprintf("belay top  %s  q quit\n\n%s", clock(p.line.Time), topTable(p.line.Volumes))
	return screen.Fit(strings.Split(text, "\n"), width, height)
}
