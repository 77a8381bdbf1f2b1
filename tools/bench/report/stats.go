package report

import (
	"math"
	"slices"
)

// Spread is a median with its quartiles.
type Spread struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	N      int     `json:"n"` // of how many values
}

// SpreadOf returns the spread of values, which it leaves in their order.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{quantile(sorted, 0.5), quantile(sorted, 0.25), quantile(sorted, 0.75), len(values)}
}

// quantile interpolates between the order statistics (Hyndman and Fan's seventh definition, the
// default of R and NumPy): the median of an odd number of values is the middle one.
func quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p * float64(len(sorted)-1)
	low := int(at)
	if low+1 == len(sorted) {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// width is how far the quartiles lie from 1 at most, for a ratio that ought to be 1.
func (s Spread) width() float64 { return max(math.Abs(s.Q1-1), math.Abs(s.Q3-1)) }

// values returns an entry's values of a metric.
func (r *Row) values(entry string, m Metric) []float64 {
	var found []float64
	for _, s := range r.Samples {
		if v, ok := s.Values[m]; ok && s.Entry == entry {
			found = append(found, v)
		}
	}
	return found
}

// ratios returns, for each round that has both, one entry's value divided by the other's. A
// round whose divisor is zero has no ratio.
func (r *Row) ratios(entry, against string, m Metric) []float64 {
	divisors := map[int]float64{}
	for _, s := range r.Samples {
		if v, ok := s.Values[m]; ok && s.Entry == against {
			divisors[s.Round] = v
		}
	}
	var found []float64
	for _, s := range r.Samples {
		v, ok := s.Values[m]
		if by := divisors[s.Round]; ok && s.Entry == entry && by != 0 {
			found = append(found, v/by)
		}
	}
	return found
}
