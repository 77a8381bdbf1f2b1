package report

import "math"

// Verdict says what became of a target.
type Verdict string

// Verdicts. A bound within the A/A spread of the ratio is decided by the machine, not by us.
const (
	Met        Verdict = "met"
	MetStretch Verdict = "met, stretch too"
	MetClose   Verdict = "met within A/A"
	Missed     Verdict = "missed"
	MissClose  Verdict = "missed within A/A"
	Unjudged   Verdict = "not judged"
	NoData     Verdict = "no data"
)

// Outcome is what became of a target in one run.
type Outcome struct {
	Row string `json:"row"`
	Target
	Best    string  `json:"best"` // the one of Against that was compared with
	Ratio   Spread  `json:"ratio"`
	AA      *Spread `json:"aa,omitempty"`
	Verdict Verdict `json:"verdict"`
}

func (r *Result) judge() []Outcome {
	all := []Outcome{}
	for i := range r.Rows {
		for _, t := range r.Rows[i].Targets {
			all = append(all, r.Rows[i].judge(t, r.Short))
		}
	}
	return all
}

func (r *Row) judge(t Target, short bool) Outcome {
	o := Outcome{Row: r.Name, Target: t, Best: r.best(t)}
	ratios := r.ratios(t.Entry, o.Best, t.Metric)
	if len(ratios) == 0 {
		o.Verdict = NoData
		return o
	}
	o.Ratio = SpreadOf(ratios)
	o.AA = r.sameness(t, o.Best)
	if o.Verdict = Unjudged; !short {
		o.Verdict = o.verdict()
	}
	return o
}

// best is the one of the target's opponents with the best median.
func (r *Row) best(t Target) string {
	best, is := "", math.NaN()
	for _, name := range t.Against {
		values := r.values(name, t.Metric)
		if len(values) == 0 {
			continue
		}
		m := SpreadOf(values).Median
		if math.IsNaN(is) || t.AtMost != 0 && m < is || t.AtMost == 0 && m > is {
			best, is = name, m
		}
	}
	return best
}

// sameness is the A/A ratio of the target's entry, or of its opponent's where only that is
// measured twice.
func (r *Row) sameness(t Target, against string) *Spread {
	for _, name := range []string{t.Entry, against} {
		for _, e := range r.Entries {
			if e.Repeats != name {
				continue
			}
			if ratios := r.ratios(name, e.Name, t.Metric); len(ratios) > 0 {
				s := SpreadOf(ratios)
				return &s
			}
		}
	}
	return nil
}

func (o *Outcome) verdict() Verdict {
	margin := o.margin(o.bound())
	noise := 0.0
	if o.AA != nil {
		noise = o.AA.width()
	}
	near := math.Abs(margin-1) < noise
	switch {
	case margin >= 1 && o.Stretch != 0 && o.margin(o.Stretch) >= 1:
		return MetStretch
	case margin >= 1 && near:
		return MetClose
	case margin >= 1:
		return Met
	case near:
		return MissClose
	default:
		return Missed
	}
}

func (t Target) bound() float64 { return max(t.AtLeast, t.AtMost) }

// margin is the ratio in terms of a bound: 1 on it, more than 1 on its good side.
func (o *Outcome) margin(bound float64) float64 {
	if o.AtMost != 0 {
		return bound / o.Ratio.Median
	}
	return o.Ratio.Median / bound
}

// met says whether a verdict is one of the good ones.
func (v Verdict) met() bool { return v == Met || v == MetStretch || v == MetClose }
