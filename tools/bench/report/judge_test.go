package report

import (
	"math"
	"reflect"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		sorted  []float64
		p, want float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{1, 2, 3}, 0.5, 2},
		{[]float64{1, 2, 3, 4}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4}, 0.25, 1.75},
		{[]float64{1, 2, 3, 4, 5}, 0.75, 4},
		{[]float64{1, 2, 3}, 1, 3},
		{[]float64{1, 2, 3}, 0, 1},
	} {
		if got := quantile(c.sorted, c.p); got != c.want {
			t.Errorf("quantile(%v, %g) = %g, not %g", c.sorted, c.p, got, c.want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("a quantile of nothing")
	}
}

func TestRatiosArePairedWithinRounds(t *testing.T) {
	r := Row{Samples: []Sample{
		{Round: 0, Entry: "a", Values: map[Metric]float64{IOPS: 10}},
		{Round: 1, Entry: "b", Values: map[Metric]float64{IOPS: 5}},
		{Round: 1, Entry: "a", Values: map[Metric]float64{IOPS: 20}},
		{Round: 0, Entry: "b", Values: map[Metric]float64{IOPS: 20}},
		{Round: 2, Entry: "a", Values: map[Metric]float64{IOPS: 1}}, // alone in its round
		{Round: 3, Entry: "a", Values: map[Metric]float64{IOPS: 1}},
		{Round: 3, Entry: "b", Values: map[Metric]float64{IOPS: 0}}, // no divisor
		{Round: 4, Entry: "a", Values: map[Metric]float64{P50: 1}},  // another metric
	}}
	if got := r.ratios("a", "b", IOPS); !reflect.DeepEqual(got, []float64{0.5, 4}) {
		t.Errorf("got %v", got)
	}
}

func TestVerdict(t *testing.T) {
	spread := func(m float64) Spread { return Spread{Median: m, Q1: m, Q3: m, N: 9} }
	quiet, loud := &Spread{1, 0.99, 1.01, 9}, &Spread{1, 0.8, 1.01, 9}
	for _, c := range []struct {
		name   string
		target Target
		ratio  float64
		aa     *Spread
		want   Verdict
	}{
		{"above", Target{AtLeast: 1.25}, 1.5, quiet, Met},
		{"on the line", Target{AtLeast: 1.25}, 1.25, nil, Met},
		{"below", Target{AtLeast: 1.25}, 1.1, quiet, Missed},
		{"just above", Target{AtLeast: 1}, 1.1, loud, MetClose},
		{"just below", Target{AtLeast: 1}, 0.9, loud, MissClose},
		{"stretch", Target{AtLeast: 2.5, Stretch: 3}, 3.1, loud, MetStretch},
		{"no stretch", Target{AtLeast: 2.5, Stretch: 3}, 2.9, quiet, Met},
		{"less is better", Target{AtMost: 0.9}, 0.5, quiet, Met},
		{"less is missed", Target{AtMost: 0.9}, 1.2, quiet, Missed},
		{"less is close", Target{AtMost: 0.9}, 0.95, loud, MissClose},
	} {
		o := Outcome{Target: c.target, Ratio: spread(c.ratio), AA: c.aa}
		if got := o.verdict(); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

func TestTheBestOpponentCounts(t *testing.T) {
	r := Row{Samples: join(samples("slow", IOPS, 1, 2, 3), samples("fast", IOPS, 9, 9, 1))}
	names := []string{"missing", "slow", "fast"}
	if got := r.best(Target{Metric: IOPS, Against: names, AtLeast: 1}); got != "fast" {
		t.Errorf("the best of what is to be beaten in rate is %q", got)
	}
	if got := r.best(Target{Metric: IOPS, Against: names, AtMost: 1}); got != "slow" {
		t.Errorf("the best of what is to be beaten in time is %q", got)
	}
}
