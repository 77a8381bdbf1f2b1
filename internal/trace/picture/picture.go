// Package picture draws recordings: the latencies as a heat map over time with the checkpoints in it,
// their percentiles, and the parts that they consist of.
package picture

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"time"

	"github.com/belay-vm/belay/internal/trace"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Columns is how many intervals a picture has room for.
const Columns = 400

// Measures of the pictures.
const (
	width   = 26 * vg.Centimeter
	high    = 11 * vg.Centimeter // the heat map
	low     = 7 * vg.Centimeter  // the others
	edge    = 0.4 * vg.Centimeter
	padding = 0.3 * vg.Centimeter // between one plot and the next
	aside   = 2.4 * vg.Centimeter // for the legends, on the right
)

// Names are the pictures that there are, from the top down.
var Names = []string{"heat", "percentiles", "parts"}

// Write draws the named pictures below each other, as one SVG.
func Write(w io.Writer, s *trace.Story, names ...string) error {
	var plots []*plot.Plot
	var heights []vg.Length
	total := vg.Length(0)
	for _, name := range names {
		p, height, err := one(s, name)
		if err != nil {
			return err
		}
		plots, heights, total = append(plots, p), append(heights, height), total+height+padding
	}
	plots[0].Title.Text = title(s)
	plots[len(plots)-1].X.Label.Text = "time since " + s.Header.Begun.Local().Format("2006-01-02 15:04:05")
	canvas := vgsvg.New(width, total)
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	left := vg.Length(0) // of the widest axis, to which all are aligned
	for _, p := range plots {
		left = max(left, p.DataCanvas(page).Min.X)
	}
	bottom := total
	for i, p := range plots {
		bottom -= heights[i] + padding
		part := draw.Crop(page, edge, -edge-aside, bottom+padding/2, bottom+heights[i]+padding/2-total)
		part.Min.X += left - p.DataCanvas(page).Min.X
		p.Legend.XOffs = part.Max.X - p.DataCanvas(part).Min.X + padding
		p.Draw(part)
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	_, err := w.Write(bytes.ReplaceAll(svg.Bytes(), []byte(family), []byte(families)))
	return err
}

// The font that is reckoned with, and those of the same widths that a viewer may have in its place.
const (
	family   = "font-family:Liberation Sans;"
	families = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"
)

func one(s *trace.Story, name string) (*plot.Plot, vg.Length, error) {
	p := plot.New()
	p.TextHandler = plot.DefaultTextHandler
	setFonts(p)
	p.X.Min, p.X.Max = 0, s.End().Sub(s.Columns[0].Time).Seconds()
	p.X.Tick.Marker = plot.TickerFunc(timeTicks)
	var err error
	height := low
	switch name {
	case "heat":
		height = high
		err = heatMap(p, s)
	case "percentiles":
		err = percentiles(p, s)
	case "parts":
		err = parts(p, s)
	default:
		err = fmt.Errorf("there is no picture named %q", name)
	}
	return p, height, err
}

// setFonts chooses a font that viewers have something alike of.
func setFonts(p *plot.Plot) {
	sans := func(size vg.Length) font.Font {
		return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	}
	p.Title.TextStyle.Font = sans(11)
	p.Title.Padding = 6
	p.X.Label.TextStyle.Font, p.Y.Label.TextStyle.Font = sans(9), sans(9)
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = sans(8), sans(8)
	p.Legend.TextStyle.Font = sans(8)
	p.Legend.Top, p.Legend.Padding, p.Legend.ThumbnailWidth = true, 3, 14
	p.Legend.Left = true
	p.X.Padding, p.Y.Padding = 0, 0
}

func title(s *trace.Story) string {
	sum := trace.Summarize(&s.Total, false)
	return fmt.Sprintf("%s: %d requests in %s, %s IOPS, %s, depth %s", s.Header.Volume, sum.Requests,
		s.Total.Span.Round(100*time.Millisecond), trace.Rate(sum.IOPS), trace.Throughput(sum.BytesPerSecond),
		trace.Rate(sum.Depth))
}
