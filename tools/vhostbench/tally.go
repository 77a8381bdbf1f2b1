package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the highest latency that a histogram tells apart from higher ones.
const longest = int64(time.Minute)

// newHistogram counts times in nanoseconds with an error below 1 %.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 2) }

// tally is what one queue has completed while it counted.
type tally struct {
	requests, bytes, errors int64
	reads                   int64 // of the requests
	busy                    int64 // ns from seeing completions to having sent what follows them
	latency, flush, sure    *hdrhistogram.Histogram
}

func newTally() tally {
	return tally{latency: newHistogram(), flush: newHistogram(), sure: newHistogram()}
}

func (t *tally) reset() {
	t.requests, t.bytes, t.errors, t.reads, t.busy = 0, 0, 0, 0, 0
	t.latency.Reset()
	t.flush.Reset()
	t.sure.Reset()
}

func (t *tally) add(other *tally) {
	t.requests += other.requests
	t.bytes += other.bytes
	t.errors += other.errors
	t.reads += other.reads
	t.busy += other.busy
	t.latency.Merge(other.latency)
	t.flush.Merge(other.flush)
	t.sure.Merge(other.sure)
}

// record counts a time; it has a place in the histogram, whatever the clock did.
func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 1), longest))
}

// times is a histogram as it is told.
type times struct {
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Mean int64 `json:"mean"`
	Max  int64 `json:"max"`
}

func timesOf(h *hdrhistogram.Histogram) times {
	return times{
		P50: h.ValueAtQuantile(50), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9),
		Mean: int64(h.Mean()), Max: h.Max(),
	}
}
