package main

import (
	"math"
	"testing"
)

// TestHistogramError : a time is told within 1 %, over all that a request can take.
func TestHistogramError(t *testing.T) {
	h := newHistogram()
	for v := 1.0; v < float64(longest); v *= 1.02 {
		ns := int64(v)
		h.Reset()
		record(h, ns)
		for _, got := range []int64{timesOf(h).P50, timesOf(h).Max, timesOf(h).Mean} {
			if off := math.Abs(float64(got-ns)) / float64(ns); off > 0.01 {
				t.Fatalf("%d ns told as %d: %.2f %%", ns, got, 100*off)
			}
		}
	}
}

// TestHistogramBounds : no time is lost, whatever the clock said.
func TestHistogramBounds(t *testing.T) {
	h := newHistogram()
	for _, ns := range []int64{math.MinInt64, -1, 0, longest + 1, math.MaxInt64} {
		record(h, ns)
	}
	if h.TotalCount() != 5 {
		t.Errorf("%d of 5 times were counted", h.TotalCount())
	}
}

func TestQuantiles(t *testing.T) {
	h := newHistogram()
	for ns := int64(1); ns <= 100_000; ns++ {
		record(h, ns)
	}
	got := timesOf(h)
	for _, row := range []struct {
		name      string
		got, want int64
	}{
		{"p50", got.P50, 50_000}, {"p99", got.P99, 99_000}, {"p99.9", got.P999, 99_900},
		{"mean", got.Mean, 50_000}, {"max", got.Max, 100_000},
	} {
		if off := math.Abs(float64(row.got-row.want)) / float64(row.want); off > 0.01 {
			t.Errorf("%s is %d, want %d", row.name, row.got, row.want)
		}
	}
}
