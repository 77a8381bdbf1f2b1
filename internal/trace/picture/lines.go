package picture

import (
	"image/color"
	"math"
	"slices"

	"github.com/belay-vm/belay/internal/trace"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// percentiles draws those of the latencies of all requests.
func percentiles(p *plot.Plot, s *trace.Story) error {
	p.Y.Label.Text = "percentiles"
	low, high := uint64(math.MaxUint64), uint64(0)
	for _, q := range []struct {
		name  string
		q     float64
		color color.Color
	}{
		{"p99.9", 0.999, color.RGBA{0xd6, 0x2f, 0x2f, 0xff}},
		{"p99", 0.99, color.RGBA{0xe0, 0x8a, 0x10, 0xff}},
		{"p90", 0.9, color.RGBA{0x4c, 0x9b, 0x4c, 0xff}},
		{"p50", 0.5, color.RGBA{0x1f, 0x77, 0xb4, 0xff}},
	} {
		var run plotter.XYs
		var runs []plotter.XYs
		for _, column := range s.Columns {
			h := &column.Only("").Parts[trace.Total]
			if h.Count() == 0 { // a line would claim that there was something
				runs, run = append(runs, run), nil
				continue
			}
			v := max(h.Quantile(q.q), 16)
			low, high = min(low, v), max(high, v)
			run = append(run, plotter.XY{X: since(s, column.Time), Y: float64(v)},
				plotter.XY{X: since(s, column.End()), Y: float64(v)})
		}
		first := true
		for _, run := range append(runs, run) {
			if len(run) == 0 {
				continue
			}
			line, err := plotter.NewLine(run)
			if err != nil {
				return err
			}
			line.Color, line.Width = q.color, 1.1*vg.Points(1)
			p.Add(line)
			if first {
				p.Legend.Add(q.name, line)
				first = false
			}
		}
	}
	if high == 0 {
		low, high = 1000, 1_000_000
	}
	p.Add(&marks{s})
	x0, x1 := p.X.Min, s.End().Sub(s.Columns[0].Time).Seconds()
	logarithmic(p, low*8/10, high*12/10)
	p.X.Min, p.X.Max = x0, x1
	return nil
}

// partColors are those of the parts, and of their order from below.
var partColors = [trace.NumParts]color.Color{
	trace.Ring:        color.RGBA{0x8f, 0xb8, 0xde, 0xff},
	trace.Store:       color.RGBA{0xe8, 0xa3, 0x3d, 0xff},
	trace.Device:      color.RGBA{0xc8, 0x55, 0x55, 0xff},
	trace.Publication: color.RGBA{0x6a, 0xc4, 0x7a, 0xff},
}

// parts draws the mean latency as a stack of its parts.
func parts(p *plot.Plot, s *trace.Story) error {
	p.Y.Label.Text = "mean latency by part"
	p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		ticks := plot.DefaultTicks{}.Ticks(low, high)
		for i := range ticks {
			if ticks[i].Label != "" {
				ticks[i].Label = round(uint64(math.Round(ticks[i].Value)))
			}
		}
		return ticks
	})
	upper, cut := ceiling(s)
	if cut {
		p.Y.Label.Text += ", cut off"
	}
	base := make([]float64, len(s.Columns))
	for part := trace.Ring; part < trace.NumParts; part++ {
		var outline, back plotter.XYs
		for i, column := range s.Columns {
			c := column.Only("")
			from := base[i]
			if c.Requests > 0 {
				base[i] = min(base[i]+float64(c.Ns[part])/float64(c.Requests), upper)
			}
			left, right := since(s, column.Time), since(s, column.End())
			outline = append(outline, plotter.XY{X: left, Y: base[i]}, plotter.XY{X: right, Y: base[i]})
			back = append(back, plotter.XY{X: left, Y: from}, plotter.XY{X: right, Y: from})
		}
		for i := len(back) - 1; i >= 0; i-- {
			outline = append(outline, back[i])
		}
		area, err := plotter.NewPolygon(outline)
		if err != nil {
			return err
		}
		area.Color, area.LineStyle.Width = partColors[part], 0
		p.Add(area)
		p.Legend.Add(part.String(), area)
	}
	p.Add(&marks{s})
	p.X.Min, p.X.Max = 0, s.End().Sub(s.Columns[0].Time).Seconds()
	p.Y.Min, p.Y.Max = 0, upper*(1+1.5*headroom)
	return nil
}

// ceiling is where the axis of the mean latencies, in ns, ends: at the greatest of them, unless that
// and a few others are so great that nothing would be seen of the rest.
func ceiling(s *trace.Story) (upper float64, cut bool) {
	means := []float64{1000}
	for _, column := range s.Columns {
		if c := column.Only(""); c.Requests > 0 {
			means = append(means, float64(c.Ns[trace.Total])/float64(c.Requests))
		}
	}
	slices.Sort(means)
	greatest, usual := means[len(means)-1], means[len(means)*9/10]
	if most := 4 * usual; len(means) > 20 && greatest > most {
		return most, true
	}
	return greatest, false
}
