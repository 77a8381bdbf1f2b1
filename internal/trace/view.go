package trace

import (
	"fmt"
	"image/color"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/belay-vm/belay/internal/screen"
)

// maxColumns is how many intervals a view remembers: more than a terminal is wide.
const maxColumns = 512

// View is what a terminal shows of a trace. It is not safe for several goroutines.
type View struct {
	title   string
	notes   []string
	kind    string // type of requests that is shown; empty for all
	whole   bool   // figures of the whole run, not of the last interval
	paused  bool
	columns []*Interval // the last ones, one key for each type
	shown   []*Interval // columns as they were when the view was paused
	total   Interval
}

// NewView returns an empty view.
func NewView(title string, notes []string) *View { return &View{title: title, notes: notes} }

// Add shows an interval.
func (v *View) Add(iv *Interval) {
	folded := iv.Fold()
	v.total.Append(folded)
	v.total.Events = nil // the columns have them
	v.columns = append(v.columns, folded)
	if len(v.columns) > maxColumns {
		v.columns = slices.Delete(v.columns, 0, 1)
	}
}

// Press does what a key asks for: tab and shift+tab change the type of requests, w is for the whole
// run, p pauses.
func (v *View) Press(key string) {
	switch key {
	case "tab":
		v.turn(1)
	case "shift+tab":
		v.turn(-1)
	case "w":
		v.whole = !v.whole
	case "p", "space":
		v.paused = !v.paused
		v.shown = slices.Clone(v.columns)
	}
}

// turn goes on to another type that was seen.
func (v *View) turn(by int) {
	seen := []string{""}
	for _, kind := range Types {
		if v.total.Only(kind).Requests > 0 {
			seen = append(seen, kind)
		}
	}
	i := max(slices.Index(seen, v.kind), 0)
	v.kind = seen[(i+by+len(seen))%len(seen)]
}

// Least size of a screen that everything fits on; on a smaller one, the end is cut off.
const (
	labelWidth  = 10 // of the rows of the heat map
	leastHeat   = 4
	mostHeat    = 20
	fixedHeight = 2 + 2 // head and foot of the map
)

// Render draws the view.
func (v *View) Render(width, height int, colored bool) string {
	columns := v.columns
	if v.paused {
		columns = v.shown
	}
	if len(columns) == 0 {
		return v.head(width, colored) + "\nwaiting for the first interval"
	}
	at := columns[len(columns)-1]
	if v.whole {
		at = &v.total
	}
	var below strings.Builder
	v.table(&below, at, colored)
	v.kernelLines(&below, at)
	v.notesLines(&below)
	left := height - fixedHeight - strings.Count(below.String(), "\n")
	outliers := v.outlierLines(columns, max(left/3, 3))
	heat := min(max(left-len(outliers), leastHeat), mostHeat)
	lines := []string{v.head(width, colored), v.load(at)}
	lines = append(lines, v.heat(columns, width, heat, colored)...)
	lines = append(lines, strings.Split(strings.TrimRight(below.String(), "\n"), "\n")...)
	lines = append(lines, outliers...)
	return screen.Fit(lines, width, height)
}

func (v *View) head(width int, colored bool) string {
	kind := v.kind
	if kind == "" {
		kind = "all requests"
	}
	figures := "last interval"
	if v.whole {
		figures = "whole run"
	}
	if v.paused {
		figures += ", PAUSED"
	}
	left := fmt.Sprintf(" %s   %s, %s", v.title, kind, figures)
	keys := "tab type  w whole run  p pause  q quit "
	line := left + strings.Repeat(" ", max(width-lipgloss.Width(left)-lipgloss.Width(keys), 2)) + keys
	if !colored {
		return line
	}
	return lipgloss.NewStyle().Reverse(true).Inline(true).MaxWidth(width).Render(line)
}

func (v *View) load(iv *Interval) string {
	l := iv.Only(v.kind).load(iv.Span)
	line := fmt.Sprintf(" %s IOPS   %s   depth %s", Rate(l.IOPS), Throughput(l.BytesPerSecond), Rate(l.Depth))
	if l.Errors > 0 {
		line += fmt.Sprintf("   %d failed", l.Errors)
	}
	for _, n := range []struct {
		of   uint64
		what string
	}{{iv.Kicks, "kicks"}, {iv.Notifications, "notifications"}, {iv.FlushRounds, "flush rounds"}} {
		line += fmt.Sprintf("   %s %s/s", Rate(perSecond(float64(n.of), iv.Span)), n.what)
	}
	return line
}

func (v *View) heat(columns []*Interval, width, rows int, colored bool) []string {
	n := max(width-labelWidth-2, 1)
	columns = columns[max(len(columns)-n, 0):]
	h := NewHeat(columns, v.kind, rows)
	lines := make([]string, 0, rows+2)
	for range rows - (len(h.Edges) - 1) {
		lines = append(lines, "")
	}
	for row := len(h.Edges) - 2; row >= 0; row-- {
		var b strings.Builder
		fmt.Fprintf(&b, "%*s ┤", labelWidth-1, Nanos(h.Edges[row]))
		cells := make([]int, len(h.Cells))
		for i, column := range h.Cells {
			cells[i] = h.Level(column[row], len(heatColors))
		}
		paint(&b, cells, colored)
		lines = append(lines, b.String())
	}
	return append(lines, v.marks(columns), v.times(columns))
}

// heatColors are those of cells from the faintest to the fullest.
var heatColors = []color.Color{
	lipgloss.Color("#2d1160"), lipgloss.Color("#51127c"), lipgloss.Color("#721f81"), lipgloss.Color("#932b80"),
	lipgloss.Color("#b73779"), lipgloss.Color("#d8456c"), lipgloss.Color("#f1605d"), lipgloss.Color("#fc8961"),
	lipgloss.Color("#feb078"), lipgloss.Color("#fed799"), lipgloss.Color("#fcfdbf"),
}

// shades take the place of colours where there are none.
var shades = []rune(" ·░░▒▒▒▓▓▓██")

// paint draws the cells of one row; those of one level that follow each other have one colour code.
func paint(b *strings.Builder, cells []int, colored bool) {
	for i := 0; i < len(cells); {
		j := i + 1
		for j < len(cells) && cells[j] == cells[i] {
			j++
		}
		switch level := cells[i]; {
		case level == 0:
			b.WriteString(strings.Repeat(" ", j-i))
		case colored:
			b.WriteString(lipgloss.NewStyle().Foreground(heatColors[level-1]).Render(strings.Repeat("█", j-i)))
		default:
			b.WriteString(strings.Repeat(string(shades[level]), j-i))
		}
		i = j
	}
}

// marks says when checkpoints and the like happened.
func (v *View) marks(columns []*Interval) string {
	row := []rune(strings.Repeat(" ", len(columns)))
	for i, iv := range columns {
		for _, e := range iv.Events {
			if m := markOf(e.Kind); m != 0 && row[i] != '▲' {
				row[i] = m
			}
		}
	}
	return strings.Repeat(" ", labelWidth) + "└" + strings.TrimRight(string(row), " ")
}

// markOf is the character that stands for an event, 0 for none.
func markOf(kind EventKind) rune {
	switch kind {
	case Started:
		return '▲'
	case Sealed:
		return '△'
	case RolledBack:
		return '◀'
	case Resubmitted:
		return '↻'
	}
	return 0
}

func (v *View) times(columns []*Interval) string {
	const legend = "▲ checkpoint started  △ sealed  ◀ rollback"
	from := columns[0].Time.Local().Format("15:04:05")
	every := columns[len(columns)-1].Span.Round(10 * time.Millisecond)
	return fmt.Sprintf("%*s %s, %s a column   %s", labelWidth, "", from, every, legend)
}

// partColors are those of the parts' bars.
var partColors = [NumParts]color.Color{
	lipgloss.Color("#888888"), lipgloss.Color("#4c9be8"), lipgloss.Color("#e8a33d"), lipgloss.Color("#d65f5f"),
	lipgloss.Color("#6ac47a"),
}

func (v *View) table(b *strings.Builder, iv *Interval, colored bool) {
	const barWidth = 16
	fmt.Fprintln(b, partsHead)
	for i, p := range iv.Only(v.kind).parts(false) {
		bar := strings.Repeat("▇", int(p.Share*barWidth+0.5))
		if colored {
			bar = lipgloss.NewStyle().Foreground(partColors[i]).Render(bar)
		}
		fmt.Fprintf(b, "%s  %s\n", p.line(), bar)
	}
}

// kernelLines have one line for io_uring and one for the block devices.
func (v *View) kernelLines(b *strings.Builder, iv *Interval) {
	words := map[string][]string{}
	for _, key := range kernelKeys(iv.Kernel) {
		k := iv.Kernel[key]
		word := fmt.Sprintf("%s %s/s p99 %s", key.Op, Rate(perSecond(float64(k.Operations), iv.Span)),
			Nanos(k.Latency.Quantile(0.99)))
		if k.Punted > 0 {
			word += fmt.Sprintf(" (%s/s punted)", Rate(perSecond(float64(k.Punted), iv.Span)))
		}
		words[key.Layer] = append(words[key.Layer], word)
	}
	for _, layer := range []string{"io_uring", "block device"} {
		if len(words[layer]) > 0 {
			fmt.Fprintf(b, "  %s: %s\n", layer, strings.Join(words[layer], " · "))
		}
	}
}

func (v *View) notesLines(b *strings.Builder) {
	for _, n := range v.notes {
		fmt.Fprintf(b, "  note: %s\n", n)
	}
}

// outlierLines lists the slowest requests that are on the screen, or in the whole run.
func (v *View) outlierLines(columns []*Interval, most int) []string {
	var seen Interval
	for _, iv := range columns {
		seen.keep(iv.Outliers)
	}
	if v.whole {
		seen.Outliers = v.total.Outliers
	}
	var lines []string
	for _, o := range seen.Outliers {
		if v.kind != "" && v.kind != o.Type {
			continue
		}
		if len(lines) == 0 {
			lines = append(lines, "  SLOWEST")
		}
		if len(lines) < most {
			lines = append(lines, fmt.Sprintf("  %s %9s  %s: %s", clock(o.Time), Nanos(o.Ns[Total]), o.Type+o.more(),
				o.breakdown())+fmt.Sprintf("  (sector %d, epoch %d)", o.Sector, o.Epoch))
		}
	}
	return lines
}
