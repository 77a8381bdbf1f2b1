package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// result is what a run found. Times of a request are in nanoseconds.
type result struct {
	Op          string  `json:"op"`
	Seq         bool    `json:"seq"`
	BS          int64   `json:"bs"`
	Depth       int     `json:"depth"`
	Queues      int     `json:"queues"`
	Packed      bool    `json:"packed"`
	Wait        string  `json:"wait"`
	Seconds     float64 `json:"seconds"`
	Requests    int64   `json:"requests"` // without flushes
	Reads       int64   `json:"reads"`    // of the requests; the others are writes
	Flushes     int64   `json:"flushes"`
	Bytes       int64   `json:"bytes"`
	IOPS        float64 `json:"iops"`
	MiBPerS     float64 `json:"mib_per_s"`
	Latency     times   `json:"lat_ns"`
	Sure        *times  `json:"sure_ns,omitempty"` // the part of it that is not the generator's own
	Flush       *times  `json:"flush_ns,omitempty"`
	CPUUser     float64 `json:"cpu_user_ns_per_req"`
	CPUSys      float64 `json:"cpu_sys_ns_per_req"`
	CPU         float64 `json:"cpu_ns_per_req"`
	ClientCPU   float64 `json:"client_cpu_ns_per_req"`
	ClientBusy  float64 `json:"client_busy_ns_per_req"` // without waiting
	Checkpoints int64   `json:"checkpoints"`
	Errors      int64   `json:"errors"`

	failure error // of the first request that failed
}

// result gathers what the workers found.
func (j *job) result() *result {
	o, all, client := j.o, newTally(), int64(0)
	first := j.workers[0]
	from, to := first.from.at, first.to.at
	r := &result{Op: o.op, Seq: o.seq, BS: int64(o.bs), Depth: o.depth, Queues: o.queues,
		Packed: o.packed, Wait: o.wait, Checkpoints: j.taken}
	for _, w := range j.workers {
		all.add(&w.counted)
		from, to = min(from, w.from.at), max(to, w.to.at)
		client += w.to.thread - w.from.thread
		if r.failure == nil {
			r.failure = w.failure
		}
	}
	r.Seconds = time.Duration(to - from).Seconds()
	r.Requests, r.Bytes, r.Errors = all.requests, all.bytes, all.errors
	r.Reads, r.Flushes = all.reads, all.flush.TotalCount()
	r.Latency = timesOf(all.latency)
	if o.sure {
		t := timesOf(all.sure)
		r.Sure = &t
	}
	if r.Flushes > 0 {
		t := timesOf(all.flush)
		r.Flush = &t
	}
	if r.Seconds > 0 {
		r.IOPS = float64(r.Requests) / r.Seconds
		r.MiBPerS = float64(r.Bytes) / (1 << 20) / r.Seconds
	}
	backend := first.to.backend.minus(first.from.backend)
	if n := float64(r.Requests); n > 0 {
		r.CPUUser, r.CPUSys = float64(backend.user)/n, float64(backend.sys)/n
		r.CPU = r.CPUUser + r.CPUSys
		r.ClientCPU, r.ClientBusy = float64(client)/n, float64(all.busy)/n
	}
	return r
}

func (r *result) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	r.words(t)
	return t.Flush()
}

func (r *result) words(w io.Writer) {
	order, ring := "random", "split"
	if r.Seq {
		order = "sequential"
	}
	if r.Packed {
		ring = "packed"
	}
	fmt.Fprintf(w, "%s %s of %s, depth %d, %d queue(s), %s ring, %s\n", order, r.Op,
		humanize.IBytes(uint64(r.BS)), r.Depth, r.Queues, ring, r.Wait)
	fmt.Fprintf(w, "requests\t%s in %.2f s\n", humanize.Comma(r.Requests), r.Seconds)
	fmt.Fprintf(w, "rate\t%s/s, %.1f MiB/s\n", humanize.Comma(int64(r.IOPS)), r.MiBPerS)
	r.Latency.words(w, "latency")
	if r.Sure != nil {
		r.Sure.words(w, "for certain")
	}
	if r.Flush != nil {
		r.Flush.words(w, "flush")
	}
	if r.CPU > 0 {
		fmt.Fprintf(w, "back end's CPU\t%.0f ns a request: user %.0f, system %.0f\n", r.CPU, r.CPUUser, r.CPUSys)
	}
	fmt.Fprintf(w, "own CPU\t%.0f ns a request, %.0f without waiting\n", r.ClientCPU, r.ClientBusy)
	if r.Checkpoints > 0 {
		fmt.Fprintf(w, "checkpoints\t%d\n", r.Checkpoints)
	}
	if r.Errors > 0 {
		fmt.Fprintf(w, "errors\t%d\n", r.Errors)
	}
}

func (t *times) words(w io.Writer, name string) {
	d := func(ns int64) time.Duration { return time.Duration(ns).Round(10 * time.Nanosecond) }
	fmt.Fprintf(w, "%s\tp50 %v, p99 %v, p99.9 %v, mean %v, max %v\n",
		name, d(t.P50), d(t.P99), d(t.P999), d(t.Mean), d(t.Max))
}
