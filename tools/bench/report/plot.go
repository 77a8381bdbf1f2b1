package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Measures of the picture.
const (
	plotWidth  = 24 * vg.Centimeter
	barPitch   = 0.55 * vg.Centimeter // from one bar to the next
	barWidth   = 0.36 * vg.Centimeter
	plotMargin = 3 * vg.Centimeter // of each half, for title and axis
	edge       = 0.3 * vg.Centimeter
	farthest   = 4 // margins beyond this are drawn as this
)

var (
	belayColor  = color.RGBA{0x1f, 0x77, 0xb4, 0xff}
	otherColor  = color.RGBA{0xb0, 0xb0, 0xb0, 0xff}
	missedColor = color.RGBA{0xd6, 0x5f, 0x3c, 0xff}
	lineColor   = color.RGBA{0x33, 0x33, 0x33, 0xff}
)

// bar is one line of a chart.
type bar struct {
	name, text string
	value      float64
	low, high  float64 // whisker; none where they are equal
	color      color.Color
}

// plot draws the ratios against their targets, and below them everybody's IOPS. It is a PNG because
// in an SVG the viewer's fonts, wider than those reckoned with, run over the bars.
func (r *Result) plot() ([]byte, error) {
	margins, rates := r.marginBars(), r.rateBars()
	canvas := vgimg.New(plotWidth, chartHeight(margins)+chartHeight(rates))
	if err := r.paint(draw.New(canvas), margins, rates); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(&out)
	return out.Bytes(), err
}

func (r *Result) paint(page draw.Canvas, margins, rates []bar) error {
	title := fmt.Sprintf("Ratios in terms of their targets: right of the line is met (%s, %s)",
		r.Commit, r.Date.Format("2006-01-02"))
	axis := fmt.Sprintf("ratio / target, or target / ratio where less is better; from %d on all alike", farthest)
	top, err := chart(title, axis, margins)
	if err != nil {
		return err
	}
	if err := targetLine(top, len(margins)); err != nil {
		return err
	}
	bottom, err := chart("Thousands of requests per second of everybody in each row", "1000 requests/s", rates)
	if err != nil {
		return err
	}
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	top.Draw(draw.Crop(page, edge, -edge, chartHeight(rates)+edge, -edge))
	bottom.Draw(draw.Crop(page, edge, -edge, edge, -chartHeight(margins)-edge))
	return nil
}

func chartHeight(bars []bar) vg.Length { return plotMargin + vg.Length(len(bars))*barPitch }

// marginBars turns every outcome into its margin, so that all have one line to reach.
func (r *Result) marginBars() []bar {
	var bars []bar
	for _, o := range r.Outcomes {
		if o.Ratio.N == 0 {
			continue
		}
		b := bar{name: o.Row + "  " + o.label(), value: o.margin(o.bound()), color: belayColor,
			text: fmt.Sprintf("%s (%s)", ratio(o.Ratio.Median), o.wish())}
		b.low, b.high = o.Ratio.Q1/o.bound(), o.Ratio.Q3/o.bound()
		if o.AtMost != 0 {
			b.low, b.high = o.bound()/o.Ratio.Q3, o.bound()/o.Ratio.Q1
		}
		if b.value < 1 {
			b.color = missedColor
		}
		b.value, b.low, b.high = min(b.value, farthest), min(b.low, farthest), min(b.high, farthest)
		bars = append(bars, b)
	}
	return bars
}

func (r *Result) rateBars() []bar {
	var bars []bar
	for i := range r.Rows {
		for _, e := range r.Rows[i].Entries {
			values := r.Rows[i].values(e.Name, IOPS)
			if len(values) == 0 || e.Repeats != "" {
				continue
			}
			s := SpreadOf(values)
			b := bar{name: r.Rows[i].Name + "  " + e.Name, text: count(s.Median), value: s.Median / 1000,
				low: s.Q1 / 1000, high: s.Q3 / 1000, color: otherColor}
			if strings.HasPrefix(e.Name, "belay") {
				b.color = belayColor
			}
			bars = append(bars, b)
		}
	}
	return bars
}

// chart lays bars out from the top down, each with its name, its whisker and its value.
func chart(title, axis string, bars []bar) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, axis
	p.X.Min, p.Y.Min, p.Y.Max = 0, -0.7, float64(len(bars))-0.3
	if len(bars) == 0 {
		p.X.Max, p.Y.Max = 1, 1
		return p, nil
	}
	bars = slices.Clone(bars)
	slices.Reverse(bars) // the axis goes up
	names := make([]string, len(bars))
	whiskers := &intervals{}
	labels := plotter.XYLabels{}
	for i, b := range bars {
		names[i] = b.name
		one, err := plotter.NewBarChart(plotter.Values{b.value}, barWidth)
		if err != nil {
			return nil, err
		}
		one.Horizontal, one.XMin, one.Color, one.LineStyle.Width = true, float64(i), b.color, 0
		p.Add(one)
		at := plotter.XY{X: max(b.value, b.high), Y: float64(i)}
		labels.XYs, labels.Labels = append(labels.XYs, at), append(labels.Labels, b.text)
		whiskers.add(b, float64(i))
	}
	p.NominalY(names...)
	if err := annotate(p, whiskers, labels); err != nil {
		return nil, err
	}
	p.X.Max *= 1.15 // room for the texts behind the bars
	return p, nil
}

func annotate(p *plot.Plot, whiskers *intervals, labels plotter.XYLabels) error {
	bars, err := plotter.NewXErrorBars(whiskers)
	if err != nil {
		return err
	}
	bars.Color, bars.CapWidth = lineColor, barWidth/2
	texts, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	texts.Offset = vg.Point{X: 3, Y: -barWidth / 4}
	for i := range texts.TextStyle {
		texts.TextStyle[i].Font.Size = 8
	}
	p.Y.Tick.Label.Font.Size = 8
	p.Add(bars, texts)
	return nil
}

// targetLine marks the margin of 1.
func targetLine(p *plot.Plot, bars int) error {
	line, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: math.Max(float64(bars)-0.5, 0.5)}})
	if err != nil {
		return err
	}
	line.Color, line.Width = lineColor, 1
	p.Add(line)
	return nil
}

// intervals are the whiskers of all bars.
type intervals struct {
	plotter.XYs
	plotter.XErrors
}

func (s *intervals) add(b bar, y float64) {
	s.XYs = append(s.XYs, plotter.XY{X: b.value, Y: y})
	s.XErrors = append(s.XErrors, struct{ Low, High float64 }{b.value - b.low, b.high - b.value})
}
