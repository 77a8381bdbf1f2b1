package trace

import (
	"time"

	"github.com/belay-vm/belay/internal/hist"
)

// Summary is an interval in figures. It is what --json prints.
type Summary struct {
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"`
	Load
	Types    []TypeSummary   `json:"types"`
	Groups   []GroupSummary  `json:"groups"`
	Kernel   []KernelSummary `json:"kernel,omitempty"`
	Tally    Tally           `json:"tally"`
	Events   []Event         `json:"events,omitempty"`
	Outliers []Outlier       `json:"outliers,omitempty"`
}

// Load says how much there was to do.
type Load struct {
	Requests       uint64  `json:"requests"`
	Bytes          uint64  `json:"bytes"`
	Errors         uint64  `json:"errors"`
	IOPS           float64 `json:"iops"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	Depth          float64 `json:"depth"`
}

// TypeSummary is what there is to say of one type of requests.
type TypeSummary struct {
	Type string `json:"type"`
	Load
	Parts []PartSummary `json:"parts"` // Total first
}

// PartSummary is a distribution of times, in ns.
type PartSummary struct {
	Part  string  `json:"part"`
	Share float64 `json:"share"` // of the total, 0 to 1
	Mean  uint64  `json:"mean_ns"`
	P50   uint64  `json:"p50_ns"`
	P90   uint64  `json:"p90_ns"`
	P99   uint64  `json:"p99_ns"`
	P999  uint64  `json:"p999_ns"`
	Max   uint64  `json:"max_ns"` // where the slot of the greatest ends

	Histogram []Bucket `json:"histogram,omitempty"`
}

// Bucket counts what took at least From and less than To, in ns.
type Bucket struct {
	From  uint64 `json:"from_ns"`
	To    uint64 `json:"to_ns"`
	Count uint64 `json:"count"`
}

// GroupSummary is what there is to say of the requests of one key.
type GroupSummary struct {
	Key
	Load
	Mean uint64 `json:"mean_ns"`
	P50  uint64 `json:"p50_ns"`
	P99  uint64 `json:"p99_ns"`
}

// KernelSummary is what there is to say of one operation of the kernel's.
type KernelSummary struct {
	KernelKey
	Operations uint64 `json:"operations"`
	Bytes      uint64 `json:"bytes"`
	Errors     uint64 `json:"errors"`
	Punted     uint64 `json:"punted"`
	Mean       uint64 `json:"mean_ns"`
	P50        uint64 `json:"p50_ns"`
	P99        uint64 `json:"p99_ns"`
}

// Summarize puts an interval in figures; buckets adds the histograms of the types.
func Summarize(iv *Interval, buckets bool) Summary {
	s := Summary{Time: iv.Time, Seconds: iv.Span.Seconds(), Load: iv.Only("").load(iv.Span),
		Types: []TypeSummary{}, Groups: []GroupSummary{}, Tally: iv.Tally,
		Events: iv.Events, Outliers: iv.Outliers}
	for _, kind := range Types {
		if c := iv.Only(kind); c.Requests > 0 {
			s.Types = append(s.Types, TypeSummary{kind, c.load(iv.Span), c.parts(buckets)})
		}
	}
	for _, key := range Keys(iv.Groups) {
		c := iv.Groups[key]
		total := &c.Parts[Total]
		s.Groups = append(s.Groups, GroupSummary{key, c.load(iv.Span), mean(c.Ns[Total], c.Requests),
			total.Quantile(0.5), total.Quantile(0.99)})
	}
	for _, key := range kernelKeys(iv.Kernel) {
		k := iv.Kernel[key]
		s.Kernel = append(s.Kernel, KernelSummary{key, k.Operations, k.Bytes, k.Errors, k.Punted,
			mean(k.Ns, k.Latency.Count()), k.Latency.Quantile(0.5), k.Latency.Quantile(0.99)})
	}
	return s
}

func (c *Counts) load(span time.Duration) Load {
	return Load{Requests: c.Requests, Bytes: c.Bytes, Errors: c.Errors,
		IOPS:           perSecond(float64(c.Requests), span),
		BytesPerSecond: perSecond(float64(c.Bytes), span),
		Depth:          c.Depth(span)}
}

func (c *Counts) parts(buckets bool) []PartSummary {
	parts := make([]PartSummary, 0, NumParts)
	for p := range NumParts {
		h := &c.Parts[p]
		s := PartSummary{Part: p.String(), Mean: mean(c.Ns[p], c.Requests), P50: h.Quantile(0.5),
			P90: h.Quantile(0.9), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.Quantile(1)}
		if c.Ns[Total] > 0 {
			s.Share = float64(c.Ns[p]) / float64(c.Ns[Total])
		}
		if buckets {
			s.Histogram = bucketsOf(h)
		}
		parts = append(parts, s)
	}
	return parts
}

func bucketsOf(h *hist.Histogram) []Bucket {
	var all []Bucket
	for slot, n := range h {
		if n > 0 {
			all = append(all, Bucket{hist.Lower(slot), hist.Upper(slot), n})
		}
	}
	return all
}

func mean(sum, n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return sum / n
}
