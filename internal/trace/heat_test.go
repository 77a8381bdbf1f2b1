package trace

import (
	"testing"

	"github.com/belay-vm/belay/internal/hist"
)

func TestHeat(t *testing.T) {
	quiet := &Interval{Time: noon, Span: 1e9}
	for _, rows := range []int{1, 2, 5, 8, 20, 300} {
		h := NewHeat([]*Interval{example(), nil, quiet, example()}, "", rows)
		if n := len(h.Edges) - 1; n < 1 || n > rows || len(h.Cells) != 4 {
			t.Fatalf("%d rows became %d, and %d columns", rows, n, len(h.Cells))
		}
		sum := 0.0
		for i, column := range h.Cells {
			for row, c := range column {
				sum += c
				if c > h.Max {
					t.Errorf("%d rows: cell %d, %d has %v, above %v", rows, i, row, c, h.Max)
				}
				if h.Edges[row] >= h.Edges[row+1] {
					t.Errorf("%d rows: edges %v", rows, h.Edges)
				}
			}
		}
		if sum != 2*1212 {
			t.Errorf("%d rows: %v requests", rows, sum)
		}
	}
}

// TestHeatPlaces: what took so long is between the edges of its row.
func TestHeatPlaces(t *testing.T) {
	for _, ns := range []uint64{0, 15, 100, 5000, 123_456, 1e9, 1 << 40} {
		c := new(Counts).request(3, 0, ns, 0, 0, 0).request(1, 0, 1e6, 0, 0, 0)
		iv := &Interval{Time: noon, Span: 1e9, Groups: map[Key]*Counts{reads: c}}
		h := NewHeat([]*Interval{iv}, "read", 8)
		for row, n := range h.Cells[0] {
			at := min(ns, hist.Lower(hist.Slots-1))
			here := h.Edges[row] <= at && at < h.Edges[row+1]
			if here != (n >= 3) {
				t.Errorf("%d ns: %v in the row from %d to %d", ns, n, h.Edges[row], h.Edges[row+1])
			}
		}
	}
}

func TestHeatOfNothing(t *testing.T) {
	h := NewHeat([]*Interval{nil, example()}, "discard", 8)
	if len(h.Edges) != 1 || h.Max != 0 || h.Level(0, 10) != 0 {
		t.Errorf("%+v", h)
	}
}

func TestLevels(t *testing.T) {
	h := &Heat{Max: 1000}
	last := 0
	for _, cell := range []float64{0, 1e-9, 0.3, 1, 10, 100, 500, 1000} {
		l := h.Level(cell, 11)
		if l < last || l > 11 || (l == 0) != (cell == 0) {
			t.Errorf("%v is on level %d after %d", cell, l, last)
		}
		last = l
		if cell > 0 && (cell < h.Least(l, 11) || l < 11 && cell >= h.Least(l+1, 11)) {
			t.Errorf("%v is on level %d, which begins at %v", cell, l, h.Least(l, 11))
		}
	}
	if last != 11 {
		t.Errorf("the fullest is on level %d", last)
	}
}
