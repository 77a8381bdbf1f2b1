package trace

import (
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// LineHead is the heading above the lines that PrintLine prints.
const LineHead = "TIME            IOPS   THROUGHPUT  DEPTH      MEAN       P50       P99     P99.9" +
	"  RING STORE DEVICE  PUB"

// PrintLine prints an interval in one line, and its marked events in a line each.
func PrintLine(w io.Writer, iv *Interval) {
	c := iv.Only("")
	h := &c.Parts[Total]
	l := c.load(iv.Span)
	fmt.Fprintf(w, "%s  %7s  %11s  %5s", iv.Time.Local().Format("15:04:05.0"), Rate(l.IOPS),
		Throughput(l.BytesPerSecond), Rate(l.Depth))
	if c.Requests > 0 {
		fmt.Fprintf(w, " %9s %9s %9s %9s", Nanos(mean(c.Ns[Total], c.Requests)), Nanos(h.Quantile(0.5)),
			Nanos(h.Quantile(0.99)), Nanos(h.Quantile(0.999)))
		fmt.Fprintf(w, "  %4s %5s %6s %4s", c.share(Ring), c.share(Store), c.share(Device), c.share(Publication))
	}
	fmt.Fprintln(w)
	for _, e := range iv.Events {
		fmt.Fprintf(w, "%s  %s\n", clock(e.Time), e.sentence())
	}
}

func (c *Counts) share(p Part) string {
	if c.Ns[Total] == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*float64(c.Ns[p])/float64(c.Ns[Total]))
}

// Print prints a summary for a person, with the notes that belong to it.
func (s *Summary) Print(w io.Writer, notes []string) {
	fmt.Fprintf(w, "%d requests in %s: %s IOPS, %s, depth %s%s\n", s.Requests,
		time.Duration(s.Seconds*1e9).Round(time.Millisecond), Rate(s.IOPS), Throughput(s.BytesPerSecond),
		Rate(s.Depth), counted(s.Errors, ", %d failed"))
	for i := range s.Types {
		s.Types[i].print(w)
	}
	s.printGroups(w)
	s.printKernel(w)
	s.printEvents(w)
	s.printOutliers(w)
	if s.Tally.Dropped > 0 {
		notes = append(notes, fmt.Sprintf("%d events came too fast and are missing from the lists above; "+
			"the counts are complete", s.Tally.Dropped))
	}
	if s.Tally.Lost > 0 {
		notes = append(notes, fmt.Sprintf("%d requests could not be counted", s.Tally.Lost))
	}
	for _, n := range notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
}

// counted prints a number where it is not zero.
func counted(n uint64, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

func (t *TypeSummary) print(w io.Writer) {
	fmt.Fprintf(w, "\n%-12s %s IOPS, %s, depth %s%s\n", t.Type, Rate(t.IOPS), Throughput(t.BytesPerSecond),
		Rate(t.Depth), counted(t.Errors, ", %d failed"))
	fmt.Fprintln(w, partsHead)
	for i := range t.Parts {
		fmt.Fprintln(w, t.Parts[i].line())
	}
	for i := range t.Parts {
		if len(t.Parts[i].Histogram) > 0 {
			t.Parts[i].printHistogram(w, t.Type)
		}
	}
}

const partsHead = "  PART         SHARE      MEAN       P50       P90       P99     P99.9       MAX"

func (p *PartSummary) line() string {
	return fmt.Sprintf("  %-11s  %4.0f%% %9s %9s %9s %9s %9s %9s", p.Part, 100*p.Share, Nanos(p.Mean),
		Nanos(p.P50), Nanos(p.P90), Nanos(p.P99), Nanos(p.P999), Nanos(p.Max))
}

// printHistogram prints an octave in each line.
func (p *PartSummary) printHistogram(w io.Writer, kind string) {
	const width = 40
	var octaves []Bucket
	most := uint64(1)
	for _, b := range p.Histogram {
		if o := octaveOf(b.From); len(octaves) == 0 || octaves[len(octaves)-1] != o {
			octaves = append(octaves, o)
		}
	}
	counts := map[Bucket]uint64{}
	for _, b := range p.Histogram {
		o := octaveOf(b.From)
		counts[o] += b.Count
		most = max(most, counts[o])
	}
	fmt.Fprintf(w, "\n  %s, %s\n", kind, p.Part)
	for _, o := range octaves {
		bar := strings.Repeat("#", int((counts[o]*width+most-1)/most))
		fmt.Fprintf(w, "  %9s to %9s %10d |%s\n", Nanos(o.From), Nanos(o.To), counts[o], bar)
	}
}

// octaveOf is the octave that a slot beginning at from lies in; all below 128 ns is one.
func octaveOf(from uint64) Bucket {
	if from < 128 {
		return Bucket{To: 128}
	}
	low := uint64(1) << (bits.Len64(from) - 1)
	return Bucket{From: low, To: 2 * low}
}

// printGroups prints the keys where there are more than there are types.
func (s *Summary) printGroups(w io.Writer) {
	if len(s.Groups) <= len(s.Types) {
		return
	}
	fmt.Fprintf(w, "\n%-12s %-6s %5s %11s %8s %12s %6s %9s %9s %9s\n", "TYPE", "SIZE", "QUEUE", "REQUESTS",
		"IOPS", "THROUGHPUT", "DEPTH", "MEAN", "P50", "P99")
	for _, g := range s.Groups {
		fmt.Fprintf(w, "%-12s %-6s %5d %11d %8s %12s %6s %9s %9s %9s\n", g.Type, g.Size, g.Queue,
			g.Requests, Rate(g.IOPS), Throughput(g.BytesPerSecond), Rate(g.Depth), Nanos(g.Mean), Nanos(g.P50),
			Nanos(g.P99))
	}
}

func (s *Summary) printKernel(w io.Writer) {
	if len(s.Kernel) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-27s %10s %10s %10s %9s %9s %9s\n", "IN THE KERNEL", "OPERATIONS", "FAILED", "PUNTED",
		"MEAN", "P50", "P99")
	for _, k := range s.Kernel {
		fmt.Fprintf(w, "%-12s %-14s %10d %10d %10d %9s %9s %9s\n", k.Layer, k.Op, k.Operations, k.Errors,
			k.Punted, Nanos(k.Mean), Nanos(k.P50), Nanos(k.P99))
	}
}

// maxListed is how many events and outliers a text lists.
const maxListed = 20

func (s *Summary) printEvents(w io.Writer) {
	if n := s.Tally.FlushRounds; n > 0 {
		fmt.Fprintf(w, "\nflush rounds: %d, %s each on average\n", n, Nanos(s.Tally.FlushNs/n))
	}
	if len(s.Events) > 0 {
		fmt.Fprintln(w, "\nEVENTS")
	}
	for _, e := range s.Events[:min(len(s.Events), maxListed)] {
		fmt.Fprintf(w, "%s  %s\n", clock(e.Time), e.sentence())
	}
	if more := len(s.Events) - maxListed; more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

func (s *Summary) printOutliers(w io.Writer) {
	if len(s.Outliers) > 0 {
		fmt.Fprintln(w, "\nSLOWEST")
	}
	for _, o := range s.Outliers[:min(len(s.Outliers), maxListed)] {
		fmt.Fprintf(w, "%s  %9s  %s\n%25s%s\n", clock(o.Time), Nanos(o.Ns[Total]), o.sentence(), "", o.breakdown())
	}
}
