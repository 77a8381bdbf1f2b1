package trace

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Nanos prints a duration with three digits and the unit that fits.
func Nanos(ns uint64) string {
	switch {
	case ns < 1000:
		return fmt.Sprintf("%d ns", ns)
	case ns < 999_500:
		return digits(float64(ns)/1e3) + " µs"
	case ns < 999_500_000:
		return digits(float64(ns)/1e6) + " ms"
	}
	return digits(float64(ns)/1e9) + " s"
}

// digits prints a number with three significant digits, or all before the point.
func digits(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Rate prints how often something happens in a second.
func Rate(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 9999.5:
		return fmt.Sprintf("%.*f", decimals(v), v)
	case v < 999_500:
		return digits(v/1e3) + "k"
	}
	return digits(v/1e6) + "M"
}

func decimals(v float64) int {
	if v < 10 {
		return 1
	}
	return 0
}

// Throughput prints bytes per second.
func Throughput(v float64) string { return humanize.IBytes(uint64(math.Max(v, 0))) + "/s" }

// more says how many others an outlier stands for.
func (o Outlier) more() string {
	if o.Alike == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", o.Alike)
}

// clock prints the time of day to the millisecond.
func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

// sentence is how an event is told.
func (e Event) sentence() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	if e.Kind == Started || e.Kind == Sealed || e.Kind == Retired {
		fmt.Fprintf(&b, " (%d)", e.Epoch)
	}
	if e.Kind == RolledBack {
		fmt.Fprintf(&b, " to %d", e.Epoch)
	}
	if e.Count > 0 {
		fmt.Fprintf(&b, ", %d requests", e.Count)
	}
	if e.Ns > 0 {
		fmt.Fprintf(&b, ", %s", Nanos(e.Ns))
	}
	return b.String()
}

// sentence is how an outlier is told.
func (o Outlier) sentence() string {
	where := fmt.Sprintf("%s of %s at sector %d, queue %d, epoch %d", o.Type,
		humanize.IBytes(uint64(o.Bytes)), o.Sector, o.Queue, o.Epoch)
	if o.Bytes == 0 {
		where = fmt.Sprintf("%s, queue %d, epoch %d", o.Type, o.Queue, o.Epoch)
	}
	if o.Alike > 0 {
		where += fmt.Sprintf(", and %d more with it", o.Alike)
	}
	if o.Status != 0 {
		where += fmt.Sprintf(", failed with status %d", o.Status)
	}
	return where
}

// breakdown lists the parts of an outlier in the order of the way.
func (o Outlier) breakdown() string {
	var parts []string
	for p := Ring; p < NumParts; p++ {
		parts = append(parts, fmt.Sprintf("%s %s", p, Nanos(o.Ns[p])))
	}
	return strings.Join(parts, ", ")
}
