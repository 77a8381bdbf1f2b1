package picture

import (
	"fmt"
	"image/color"

	"github.com/belay-vm/belay/internal/trace"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// rows is the most that the heat map has.
const rows = 64

// levels are the colours from the faintest to the fullest, which are dark on white paper.
var levels = []color.Color{
	color.RGBA{0xe4, 0xec, 0xf6, 0xff}, color.RGBA{0xc8, 0xda, 0xee, 0xff}, color.RGBA{0xa3, 0xc4, 0xe3, 0xff},
	color.RGBA{0x77, 0xa9, 0xd5, 0xff}, color.RGBA{0x4c, 0x8c, 0xc4, 0xff}, color.RGBA{0x2b, 0x6d, 0xae, 0xff},
	color.RGBA{0x1b, 0x4f, 0x93, 0xff}, color.RGBA{0x12, 0x35, 0x73, 0xff}, color.RGBA{0x0a, 0x1d, 0x4d, 0xff},
}

// heatMap draws how many requests took so long, and when.
func heatMap(p *plot.Plot, s *trace.Story) error {
	h := trace.NewHeat(s.Columns, "", rows)
	p.Y.Label.Text = "latency of all requests"
	if len(h.Edges) < 2 {
		logarithmic(p, 1000, 1_000_000)
		return nil
	}
	logarithmic(p, h.Edges[0], h.Edges[len(h.Edges)-1])
	p.Add(&cells{h, s}, &marks{s})
	p.Legend.Add("requests/s")
	for level := len(levels); level > 0; level -= 2 {
		name := "from " + trace.Rate(h.Least(level, len(levels)))
		if level == 1 {
			name = "less"
		}
		p.Legend.Add(name, swatch{levels[level-1]})
	}
	return nil
}

// overlap of rows, so that no viewer leaves a line of paper between them.
const overlap = 0.3

// swatch is a colour in a legend. It implements plot.Thumbnailer.
type swatch struct{ color.Color }

func (s swatch) Thumbnail(c *draw.Canvas) {
	c.SetColor(s.Color)
	c.Fill(c.Rectangle.Path())
}

// cells is the map itself. It implements plot.Plotter.
type cells struct {
	heat  *trace.Heat
	story *trace.Story
}

// Plot draws neighbours of one level as one rectangle: fewer of them, and no lines between them.
func (m *cells) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	columns := m.story.Columns
	for row := range len(m.heat.Edges) - 1 {
		bottom, top := y(max(float64(m.heat.Edges[row]), p.Y.Min)), y(max(float64(m.heat.Edges[row+1]), p.Y.Min))
		for i := 0; i < len(columns); {
			level := m.heat.Level(m.heat.Cells[i][row], len(levels))
			j := i + 1
			for j < len(columns) && m.heat.Level(m.heat.Cells[j][row], len(levels)) == level {
				j++
			}
			if level > 0 {
				left, right := x(since(m.story, columns[i].Time)), x(since(m.story, columns[j-1].End()))
				c.SetColor(levels[level-1])
				c.Fill(vg.Rectangle{Min: vg.Point{X: left, Y: bottom},
					Max: vg.Point{X: right, Y: top + overlap}}.Path())
			}
			i = j
		}
	}
}

// marks are lines where checkpoints were started and the like. It implements plot.Plotter.
type marks struct{ story *trace.Story }

// maxLabels is how many marks may have names before there are none at all.
const maxLabels = 30

var markColors = map[trace.EventKind]color.Color{
	trace.Started:     color.RGBA{0xd6, 0x2f, 0x2f, 0xff},
	trace.RolledBack:  color.RGBA{0x8a, 0x2b, 0xc4, 0xff},
	trace.Resubmitted: color.RGBA{0xe0, 0x8a, 0x10, 0xff},
}

// Plot draws a dashed line at each moment, and what happened beside its top.
func (m *marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	var marked []trace.Event
	for _, e := range m.story.Total.Events {
		at := x(since(m.story, e.Time))
		if markColors[e.Kind] != nil && at >= c.Min.X && at <= c.Max.X {
			marked = append(marked, e)
		}
	}
	style := text.Style{Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: 8},
		XAlign: draw.XLeft, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
	free := c.Min.X // where the last name ends
	for i, e := range marked {
		at := x(since(m.story, e.Time))
		style.Color = markColors[e.Kind]
		c.StrokeLine2(draw.LineStyle{Color: style.Color, Width: 0.8, Dashes: []vg.Length{3, 2}},
			at, c.Min.Y, at, c.Max.Y)
		if len(marked) <= maxLabels {
			free = writeBeside(c, style, at, free, label(e, i == 0))
		}
	}
}

// writeBeside writes a name to the right of a line at x, or to the left of it where there is no room;
// not at all where it would run into the name before. It returns where its own ends.
func writeBeside(c draw.Canvas, style text.Style, x, free vg.Length, name string) vg.Length {
	const gap = 2
	left := x + gap
	if width := style.Width(name); left+width > c.Max.X {
		left = x - gap - width
	}
	if left < free {
		return free
	}
	c.FillText(style, vg.Point{X: left, Y: c.Max.Y - gap}, name)
	return left + style.Width(name) + gap
}

// label is a mark's name. Checkpoints behind the first mark have their number only.
func label(e trace.Event, first bool) string {
	switch {
	case e.Kind == trace.RolledBack:
		return fmt.Sprintf("rollback to %d", e.Epoch)
	case e.Kind == trace.Resubmitted:
		return "taken up again"
	case first:
		return fmt.Sprintf("checkpoint %d", e.Epoch)
	}
	return fmt.Sprint(e.Epoch)
}
