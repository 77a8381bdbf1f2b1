package trace

import (
	"math"
	"math/bits"
	"time"

	"github.com/belay-vm/belay/internal/hist"
)

// Heat is a map of latencies over time: how many requests took so long, and when.
type Heat struct {
	Edges []uint64    // of the rows, from below, in ns: one more than there are rows
	Times []time.Time // when each column begins
	Cells [][]float64 // by column, then by row from below: requests per second
	Max   float64     // of all cells
}

// NewHeat draws the latencies of one type of requests, or of all where it is empty, in at most rows
// rows. Columns that are nil, or without requests, are empty.
func NewHeat(columns []*Interval, kind string, rows int) *Heat {
	counts := make([]*hist.Histogram, len(columns))
	var all hist.Histogram
	for i, iv := range columns {
		counts[i] = new(hist.Histogram)
		if iv != nil {
			counts[i] = &iv.Only(kind).Parts[Total]
			all.Add(counts[i])
		}
	}
	first, step, n := rowsOf(&all, rows)
	h := &Heat{}
	for i := range n + 1 {
		h.Edges = append(h.Edges, hist.Lower(min(first+i*step, hist.Slots)))
	}
	for i, iv := range columns {
		cells := make([]float64, n)
		at := time.Time{}
		if iv != nil {
			at = iv.Time
			for slot, count := range counts[i] {
				if count > 0 {
					cells[(slot-first)/step] += perSecond(float64(count), iv.Span)
				}
			}
		}
		for _, c := range cells {
			h.Max = max(h.Max, c)
		}
		h.Cells, h.Times = append(h.Cells, cells), append(h.Times, at)
	}
	return h
}

// rowSlots are how many slots a row may have: parts of an octave, which has 8, or several.
var rowSlots = []int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, hist.Slots}

// rowsOf chooses the rows: of as few slots each as will do. They begin at a multiple of those, so that
// they stay where they are while the latencies change a little.
func rowsOf(all *hist.Histogram, rows int) (first, step, n int) {
	first, last := hist.Slots, -1
	for slot, count := range all {
		if count > 0 {
			first, last = min(first, slot), slot
		}
	}
	if last < 0 {
		return 0, 1, 0
	}
	for _, step = range rowSlots {
		if n = last/step - first/step + 1; n <= max(rows, 1) {
			break
		}
	}
	return first / step * step, step, n
}

// octaves is from the fullest cell down to what is drawn faintest.
const octaves = 12

// Least is what a cell of a level has at least, in requests per second.
func (h *Heat) Least(level, levels int) float64 {
	if level <= 1 {
		return 0
	}
	bits := ((level-1)*octaves + levels - 2) / (levels - 1)
	return h.Max * math.Pow(2, float64(bits-1-octaves))
}

// Level is a cell's place on a scale of so many levels by its logarithm: 0 for an empty cell, levels
// for the fullest. A cell with anything in it is above 0.
func (h *Heat) Level(cell float64, levels int) int {
	if cell <= 0 || h.Max <= 0 {
		return 0
	}
	share := uint64(cell / h.Max * (1 << octaves))
	return 1 + min(bits.Len64(share), octaves)*(levels-1)/octaves
}
