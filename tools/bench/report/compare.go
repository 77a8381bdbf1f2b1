package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Compare prints two results side by side: for each target the ratio in both and the relation
// of the two, for each entry its main figure. What lies beyond the A/A spread is marked.
func Compare(w io.Writer, a, b *Result) error {
	var out strings.Builder
	for _, side := range []struct {
		name string
		r    *Result
	}{{"A", a}, {"B", b}} {
		fmt.Fprintf(&out, "%s: %s, commit %s, %d rounds of %g s\n", side.name,
			side.r.Date.Format("2006-01-02 15:04 MST"), side.r.Commit, side.r.Settings.Rounds, side.r.Settings.Seconds)
	}
	warn(&out, a, b)
	for i := range b.Rows {
		j := slices.IndexFunc(a.Rows, func(r Row) bool { return r.Name == b.Rows[i].Name })
		if j >= 0 {
			compareRow(&out, a, b, &a.Rows[j], &b.Rows[i])
		}
	}
	compareFigures(&out, a.Figures, b.Figures)
	lonely(&out, "A", a, b)
	lonely(&out, "B", b, a)
	_, err := io.WriteString(w, out.String())
	return err
}

// warn says what makes the two hard to compare.
func warn(out *strings.Builder, a, b *Result) {
	for _, d := range []struct{ what, a, b string }{
		{"CPU", a.Machine.CPU, b.Machine.CPU},
		{"kernel", a.Machine.Kernel, b.Machine.Kernel},
		{"disk", a.Machine.Disk, b.Machine.Disk},
		{"file system", a.Machine.FileSystem, b.Machine.FileSystem},
		{"size", fmt.Sprint(a.Settings.Size), fmt.Sprint(b.Settings.Size)},
	} {
		if d.a != d.b {
			fmt.Fprintf(out, "note: the %s differs: %s; %s\n", d.what, d.a, d.b)
		}
	}
	if a.Short || b.Short {
		out.WriteString("note: a short form is no measurement\n")
	}
}

func compareLine(out *strings.Builder, label, a, b, relation, remark string) {
	line := fmt.Sprintf("  %-*s %10s %10s %7s  %s", wideLabel, label, a, b, relation, remark)
	out.WriteString(strings.TrimRight(line, " ") + "\n")
}

func compareRow(out *strings.Builder, a, b *Result, rowA, rowB *Row) {
	fmt.Fprintf(out, "\n%s; %s [%s]\n", rowB.Title, rowB.Placement, rowB.Name)
	compareLine(out, "", "A", "B", "B/A", "")
	for _, now := range b.Outcomes {
		was := slices.IndexFunc(a.Outcomes, func(o Outcome) bool { return o.same(now) })
		if now.Row == rowB.Name && was >= 0 {
			compareOutcomes(out, a.Outcomes[was], now)
		}
	}
	for _, e := range rowB.Entries {
		for _, m := range rowB.metrics() {
			compareEntries(out, rowA, rowB, e.Name, m)
		}
	}
}

// same says whether two outcomes are of one target, whatever its bound.
func (o Outcome) same(p Outcome) bool {
	return o.Row == p.Row && o.Entry == p.Entry && o.Metric == p.Metric && slices.Equal(o.Against, p.Against)
}

func compareOutcomes(out *strings.Builder, a, b Outcome) {
	if a.Ratio.N == 0 || b.Ratio.N == 0 {
		return
	}
	relation := b.Ratio.Median / a.Ratio.Median
	remark := string(b.Verdict)
	if noise, ok := noise(a.AA, b.AA); ok {
		remark = beyond(relation, noise, b.AtMost != 0) + "; " + remark
	}
	compareLine(out, b.label(), ratio(a.Ratio.Median), ratio(b.Ratio.Median), ratio(relation), remark)
}

// noise is the wider of the A/A spreads.
func noise(a, b *Spread) (float64, bool) {
	if a == nil || b == nil {
		return 0, false
	}
	return max(a.width(), b.width()), true
}

func beyond(relation, noise float64, lessIsMore bool) string {
	switch {
	case math.Abs(relation-1) <= noise:
		return fmt.Sprintf("within A/A (%.2f)", noise)
	case (relation > 1) != lessIsMore:
		return fmt.Sprintf("BETTER, beyond A/A (%.2f)", noise)
	default:
		return fmt.Sprintf("WORSE, beyond A/A (%.2f)", noise)
	}
}

// metrics are those that the row's targets are about.
func (r *Row) metrics() []Metric {
	var all []Metric
	for _, t := range r.Targets {
		if !slices.Contains(all, t.Metric) {
			all = append(all, t.Metric)
		}
	}
	if len(all) == 0 {
		all = []Metric{IOPS}
	}
	return all
}

func compareEntries(out *strings.Builder, a, b *Row, entry string, m Metric) {
	va, vb := a.values(entry, m), b.values(entry, m)
	if len(va) == 0 || len(vb) == 0 {
		return
	}
	ma, mb := SpreadOf(va).Median, SpreadOf(vb).Median
	i := slices.IndexFunc(quantities, func(q quantity) bool { return q.metric == m })
	compareLine(out, entry+", "+m.label(), quantities[i].format(ma), quantities[i].format(mb), ratio(mb/ma), "")
}

func compareFigures(out *strings.Builder, a, b []Figure) {
	headed := false
	for _, now := range b {
		i := slices.IndexFunc(a, func(f Figure) bool { return f.Name == now.Name && f.Unit == now.Unit })
		if i < 0 {
			continue
		}
		if !headed {
			out.WriteString("\nThe store itself\n")
			compareLine(out, "", "A", "B", "B/A", "")
			headed = true
		}
		relation := "-"
		if a[i].Value != 0 {
			relation = ratio(now.Value / a[i].Value)
		}
		compareLine(out, now.Name+", "+now.Unit, fmt.Sprintf("%.4g", a[i].Value), fmt.Sprintf("%.4g", now.Value),
			relation, "")
	}
}

// lonely names the rows that only one result has.
func lonely(out *strings.Builder, name string, a, b *Result) {
	for i := range a.Rows {
		if !slices.ContainsFunc(b.Rows, func(r Row) bool { return r.Name == a.Rows[i].Name }) {
			fmt.Fprintf(out, "\nonly %s has the row %s\n", name, a.Rows[i].Name)
		}
	}
}
