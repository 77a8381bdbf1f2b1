package picture

import (
	"math"
	"time"

	"github.com/belay-vm/belay/internal/trace"
	"gonum.org/v1/plot"
)

// steps are the distances that ticks of a time axis may have.
var steps = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// timeTicks marks round times, at most a dozen of them.
func timeTicks(low, high float64) []plot.Tick {
	const most = 12
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (high-low)/s.Seconds() <= most {
			step = s
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step.Seconds()); i*step.Seconds() <= high && len(ticks) < 1000; i++ {
		at := time.Duration(i) * step
		ticks = append(ticks, plot.Tick{Value: at.Seconds(), Label: elapsed(at)})
	}
	return ticks
}

// elapsed prints a time without the zeroes that time.Duration has at its end.
func elapsed(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(s) - len(zero); n > 0 && s[n:] == zero {
			s = s[:n+1]
		}
	}
	return s
}

// latencyTicks marks 1, 2 and 5 in each decade of nanoseconds, or less where that is too much.
func latencyTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	decades := math.Log10(high / low)
	for decade := 1.0; decade <= high; decade *= 10 {
		for m := 1.0; m < 10; m++ {
			v := decade * m
			if v < low || v > high {
				continue
			}
			t := plot.Tick{Value: v}
			if m == 1 || decades < 3.5 && (m == 2 || m == 5) {
				t.Label = round(uint64(v))
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// round prints a latency that is a round number, apart from its tick.
func round(ns uint64) string { return time.Duration(ns).String() + " " }

// headroom is how much of a plot is left free at the top for the marks' names.
const headroom = 0.07

// logarithmic makes latencies the vertical axis, from low to high, in ns.
func logarithmic(p *plot.Plot, low, high uint64) {
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = plot.TickerFunc(latencyTicks)
	p.Y.Min, p.Y.Max = float64(max(low, 16)), float64(max(high, 32))
	p.Y.Max *= math.Pow(p.Y.Max/p.Y.Min, headroom)
}

// since is a moment's place on the time axis.
func since(s *trace.Story, t time.Time) float64 { return t.Sub(s.Columns[0].Time).Seconds() }
