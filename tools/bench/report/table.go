package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// quantity is how a metric is shown.
type quantity struct {
	metric Metric
	head   string
	format func(float64) string
}

// quantities are the columns of absolute figures, in their order.
var quantities = []quantity{
	{IOPS, "IOPS", count},
	{Bandwidth, "MiB/s", whole},
	{P50, "p50 µs", micros},
	{P99, "p99 µs", micros},
	{P999, "p99.9 µs", micros},
	{FlushP50, "flush p50", micros},
	{FlushP99, "flush p99", micros},
	{CPU, "CPU µs", micros},
	{ClientCPU, "client µs", micros},
	{Checkpoints, "points", whole},
	{RetireP50, "retire µs", micros},
}

// label is a metric's name in a table.
func (m Metric) label() string {
	for _, q := range quantities {
		if q.metric == m {
			return q.head
		}
	}
	return string(m)
}

func count(v float64) string {
	if v < 1000 {
		return whole(v)
	}
	return fmt.Sprintf("%.1fk", v/1000)
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func micros(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return whole(v)
}

// ratio prints with as many places as matter.
func ratio(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func (s Spread) String() string {
	return fmt.Sprintf("%s [%s..%s]", ratio(s.Median), ratio(s.Q1), ratio(s.Q3))
}

// Table prints the result for a person.
func (r *Result) Table(w io.Writer) error {
	var b strings.Builder
	r.head(&b)
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(&b, "\n%s; %s [%s]\n", row.Title, row.Placement, row.Name)
		row.targets(&b, r.Outcomes)
		row.figures(&b)
	}
	r.figures(&b)
	r.sum(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) head(b *strings.Builder) {
	fmt.Fprintf(b, "belay beside its peers, %s, commit %s\n", r.Date.Format("2006-01-02 15:04 MST"), r.Commit)
	b.WriteString(r.Machine.String())
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(b, "%s: %s\n", name, r.Versions[name])
	}
	s := r.Settings
	fmt.Fprintf(b, "%d rounds of %g s each after %g s, on %s; ratios are within a round, given as their\n"+
		"median [first..third quartile]; A/A is a ratio of belay to itself; CPU is the back end's, per request\n",
		s.Rounds, s.Seconds, s.Ramp, humanize.IBytes(uint64(s.Size)))
	if r.Short {
		b.WriteString("short form: it shows that everything works, and its times mean nothing\n")
	}
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %s; Linux %s; load %.2f before, %.2f after\n%s\n%s\n", m.CPU, m.CPUs,
		humanize.IBytes(m.Memory), m.Kernel, m.Load[0], m.Load[1], m.Disk, m.FileSystem)
}

// Widths of the columns.
const (
	wideLabel  = 46
	wideBound  = 13
	wideSpread = 19
	wideEntry  = 30
	wideValue  = 10
)

func (r *Row) targets(b *strings.Builder, outcomes []Outcome) {
	if len(r.Targets) == 0 {
		return
	}
	line := func(label, bound, ratio, aa, verdict string) {
		text := fmt.Sprintf("  %-*s %-*s %-*s %-*s %s", wideLabel, label, wideBound, bound, wideSpread, ratio,
			wideSpread, aa, verdict)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("", "target", "ratio", "A/A", "")
	for _, o := range outcomes {
		if o.Row != r.Name {
			continue
		}
		spread, aa := "-", "-"
		if o.Ratio.N > 0 {
			spread = o.Ratio.String()
		}
		if o.AA != nil {
			aa = o.AA.String()
		}
		line(o.label(), o.wish(), spread, aa, string(o.Verdict))
	}
}

// label says what was compared.
func (o *Outcome) label() string {
	against := o.Best
	if against == "" {
		against = strings.Join(o.Against, ", ")
	}
	return fmt.Sprintf("%s: %s / %s", o.Metric.label(), o.Entry, against)
}

// wish is the target's bound.
func (t Target) wish() string {
	sign := "≥"
	if t.AtMost != 0 {
		sign = "≤"
	}
	text := fmt.Sprintf("%s %g", sign, t.bound())
	if t.Stretch != 0 {
		text += fmt.Sprintf(" (%g)", t.Stretch)
	}
	return text
}

// figures prints the medians of everything that the row's entries showed.
func (r *Row) figures(b *strings.Builder) {
	var shown []quantity
	for _, q := range quantities {
		if slices.ContainsFunc(r.Samples, func(s Sample) bool { _, ok := s.Values[q.metric]; return ok }) {
			shown = append(shown, q)
		}
	}
	fmt.Fprintf(b, "  %-*s", wideEntry, "")
	for _, q := range shown {
		fmt.Fprintf(b, "%*s", wideValue, q.head)
	}
	b.WriteByte('\n')
	for _, e := range r.Entries {
		fmt.Fprintf(b, "  %-*s", wideEntry, e.Name)
		for _, q := range shown {
			text := "-"
			if values := r.values(e.Name, q.metric); len(values) > 0 {
				text = q.format(SpreadOf(values).Median)
			}
			fmt.Fprintf(b, "%*s", wideValue, text)
		}
		b.WriteByte('\n')
	}
}

// figures prints what the store's own tests measured.
func (r *Result) figures(b *strings.Builder) {
	if len(r.Figures) == 0 {
		return
	}
	b.WriteString("\nThe store itself\n")
	line := func(name, value, against, ratio, target, verdict string) {
		text := fmt.Sprintf("  %-56s %14s %14s %8s  %-10s %s", name, value, against, ratio, target, verdict)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("", "value", "against", "ratio", "target", "")
	for _, f := range r.Figures {
		against, by, verdict := "", "", ""
		if f.Against != nil {
			against = fmt.Sprintf("%.4g %s", *f.Against, f.Unit)
		}
		if f.Ratio != nil {
			by = ratio(*f.Ratio)
		}
		if f.Met != nil {
			verdict = string(map[bool]Verdict{true: Met, false: Missed}[*f.Met])
		}
		line(f.Name, fmt.Sprintf("%.4g %s", f.Value, f.Unit), against, by, f.Target, verdict)
	}
}

// sum counts the targets, and those that were met.
func (r *Result) sum(b *strings.Builder) {
	targets, met := 0, 0
	for _, o := range r.Outcomes {
		targets++
		if o.Verdict.met() {
			met++
		}
	}
	for _, f := range r.Figures {
		if f.Met == nil {
			continue
		}
		targets++
		if *f.Met {
			met++
		}
	}
	if r.Short || targets == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d of %d targets met\n", met, targets)
}

// Brief prints one row's outcomes, for whoever watches the run.
func (r *Row) Brief(w io.Writer, short bool) {
	fmt.Fprintf(w, "%s\n", r.Name)
	for _, t := range r.Targets {
		o := r.judge(t, short)
		fmt.Fprintf(w, "  %-*s %-*s %-*s %s\n", wideLabel, o.label(), wideBound, o.wish(), wideSpread, o.Ratio,
			o.Verdict)
	}
}
