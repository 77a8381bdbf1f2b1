package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/trace"
)

// topVolume is what one volume did between two readings. Durations are nanoseconds.
type topVolume struct {
	Path  string `json:"path"`
	PID   int    `json:"pid"`
	State string `json:"state"`

	IOPS        float64 `json:"iops"`
	Reads       float64 `json:"reads_per_second"`
	Writes      float64 `json:"writes_per_second"`
	ReadBytes   float64 `json:"read_bytes_per_second"`
	WriteBytes  float64 `json:"written_bytes_per_second"`
	Errors      float64 `json:"errors_per_second"`
	Depth       float64 `json:"depth"`
	Mean        uint64  `json:"mean_ns"`
	P99         uint64  `json:"p99_ns"`
	Checkpoints int     `json:"checkpoints"`

	Error *control.Error `json:"error,omitempty"` // why it could not be read
}

// askTimeout is how long a process may take to answer, so that one that hangs holds nobody up.
const askTimeout = 2 * time.Second

// readings remembers what the volumes counted at the last reading.
type readings struct{ last map[process]control.Load }

func newReadings() *readings { return &readings{map[process]control.Load{}} }

// read asks all volumes, the busiest first in its answer.
func (r *readings) read(ctx context.Context) ([]topVolume, error) {
	found, err := processes()
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	volumes := []topVolume{} // an empty list in JSON too
	next := map[process]control.Load{}
	for _, p := range found {
		st, load, err := askLoad(ctx, p)
		v := topVolume{Path: p.dir, PID: p.pid}
		switch {
		case err != nil:
			if _, gone := os.Stat(fmt.Sprintf("/proc/%d", p.pid)); gone != nil {
				continue
			}
			v.Error = control.AsError(err)
			v.State = oneLine(v.Error)
		default:
			v.Checkpoints, v.State = st.Points, volumeState(&st)
			if last, ok := r.last[p]; ok {
				v.between(last, load)
			}
			next[p] = load
		}
		volumes = append(volumes, v)
	}
	r.last = next
	slices.SortStableFunc(volumes, func(a, b topVolume) int {
		return cmp.Or(cmp.Compare(b.IOPS, a.IOPS), cmp.Compare(a.Path, b.Path))
	})
	return volumes, nil
}

// askLoad asks the process that serves a volume, and nobody else.
func askLoad(ctx context.Context, p process) (st control.Status, l control.Load, err error) {
	ctx, stop := context.WithTimeout(ctx, askTimeout)
	defer stop()
	client, err := control.Dial(p.dir)
	if err != nil {
		return st, l, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if st, err = client.Status(ctx); err != nil {
		return st, l, err
	}
	if st.Server == nil || st.Server.PID != p.pid {
		return st, l, fmt.Errorf("another process answers for it")
	}
	l, err = client.Load(ctx)
	if control.CodeOf(err) == control.CodeNotFound {
		err = fmt.Errorf("its version %s does not tell its load", st.Server.Version)
	}
	return st, l, err
}

// between fills in what a volume did from one reading to the next.
func (v *topVolume) between(last, now control.Load) {
	span := float64(now.At-last.At) / float64(time.Second)
	if now.At <= last.At {
		return
	}
	var all hist.Histogram
	var requests, ns uint64
	for _, q := range now.Queues {
		before := queueOf(last, q)
		n := q.Requests - before.Requests
		requests, ns = requests+n, ns+q.Ns-before.Ns
		v.Errors += float64(q.Errors-before.Errors) / span
		switch q.Type {
		case "read":
			v.Reads += float64(n) / span
			v.ReadBytes += float64(q.Bytes-before.Bytes) / span
		case "write":
			v.Writes += float64(n) / span
			v.WriteBytes += float64(q.Bytes-before.Bytes) / span
		}
		all.Add(slotsOf(q.Latency))
		all.Sub(slotsOf(before.Latency))
	}
	v.IOPS = float64(requests) / span
	v.Depth = float64(ns) / float64(now.At-last.At)
	if requests > 0 {
		v.Mean = ns / requests
	}
	v.P99 = all.Quantile(0.99)
}

// queueOf finds what a queue had counted before; nothing where it is not there.
func queueOf(l control.Load, q control.QueueLoad) control.QueueLoad {
	i := slices.IndexFunc(l.Queues, func(o control.QueueLoad) bool {
		return o.Queue == q.Queue && o.Type == q.Type
	})
	if i < 0 {
		return control.QueueLoad{}
	}
	return l.Queues[i]
}

func slotsOf(pairs [][2]uint64) *hist.Histogram {
	h := new(hist.Histogram)
	for _, p := range pairs {
		h[min(p[0], hist.Slots-1)] += p[1]
	}
	return h
}

func (v *topVolume) print(w io.Writer) {
	if v.Error != nil {
		fmt.Fprintf(w, "%s\t%d\t-\t-\t-\t-\t-\t-\t-\t-\t%s\n", v.Path, v.PID, v.State)
		return
	}
	fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", v.Path, v.PID, trace.Rate(v.Reads),
		trace.Rate(v.Writes), trace.Throughput(v.ReadBytes), trace.Throughput(v.WriteBytes), trace.Nanos(v.Mean),
		trace.Nanos(v.P99), trace.Rate(v.Depth), v.Checkpoints, v.State)
}
