//go:build !nobpf

package main

import (
	"context"

	"github.com/belay-vm/belay/bpf"
	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/internal/trace"
)

// tracer is a bpf.Tracer in the words of package trace.
type tracer struct{ *bpf.Tracer }

var _ trace.Source = tracer{}

func (t tracer) Snapshot() (*trace.Snapshot, error) {
	s, err := t.Tracer.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshotOf(s), nil
}

func (t tracer) Events(ctx context.Context, each func(trace.Happening)) error {
	return t.Tracer.Events(ctx, func(e bpf.Event) {
		if h, ok := happeningOf(&e); ok {
			each(h)
		}
	})
}

// attach looks at a process.
func attach(t traced, o *traceOptions) (attached, error) {
	at, err := bpf.Attach(bpf.Options{PID: t.pid, Name: t.pins, Outliers: o.outliers,
		Kernel: o.kernel, Pin: o.pin})
	if err != nil {
		return nil, err
	}
	return tracer{at}, nil
}

// unpin ends what a tracer left counting, and pinDir is where that is.
func unpin(name string) error   { return bpf.Unpin(name) }
func pinDir(name string) string { return bpf.PinDir(name) }

// sharedCounters makes memory for a device's counters that bpftool can read. The note says why it
// cannot by name.
func sharedCounters(name string, queues int) (m counterMemory, note string, err error) {
	c, err := bpf.OpenCounters(name, queues)
	if err != nil {
		return m, "", err
	}
	return counterMemory{c.Count, c.Latency, c.Close}, c.Note, nil
}

func snapshotOf(s *bpf.Snapshot) *trace.Snapshot {
	out := &trace.Snapshot{At: s.At, Groups: map[trace.Key]*trace.Counts{},
		Kernel: map[trace.KernelKey]*trace.Kernel{},
		Tally:  trace.Tally{Kicks: s.Kicks, Notifications: s.Notifications, Dropped: s.Dropped, Lost: s.Lost}}
	for key, p := range s.Parts {
		out.Groups[trace.Key{Queue: key.Queue, Type: key.Type.String(), Size: key.Size.String()}] = countsOf(p)
	}
	for op, u := range s.Uring {
		out.Kernel[trace.KernelKey{Layer: "io_uring", Op: op}] = &trace.Kernel{Operations: u.Completed,
			Errors: u.Errors, Punted: u.Punted, Ns: u.Ns, Latency: u.Latency}
	}
	for op, b := range s.Block {
		out.Kernel[trace.KernelKey{Layer: "block queue", Op: op}] = &trace.Kernel{Operations: b.Queue.Count(),
			Ns: b.QueueNs, Latency: b.Queue}
		out.Kernel[trace.KernelKey{Layer: "block device", Op: op}] = &trace.Kernel{Operations: b.Requests,
			Bytes: b.Bytes, Errors: b.Errors, Ns: b.DeviceNs, Latency: b.Device}
	}
	return out
}

func countsOf(p *bpf.Parts) *trace.Counts {
	return &trace.Counts{Requests: p.Requests, Bytes: p.Bytes, Errors: p.Errors, Ns: p.Ns,
		Parts: [trace.NumParts]hist.Histogram{p.Total, p.Ring, p.Store, p.Device, p.Publication}}
}

// kinds are the events that have a name of their own.
var kinds = map[bpf.EventKind]trace.EventKind{
	bpf.CheckpointStart: trace.Started, bpf.CheckpointSealed: trace.Sealed,
	bpf.CheckpointRetired: trace.Retired, bpf.Rollback: trace.RolledBack, bpf.Resubmit: trace.Resubmitted,
	bpf.MirrorSend: trace.Sent, bpf.MirrorAck: trace.Acked,
}

// happeningOf leaves out what this program knows nothing of.
func happeningOf(e *bpf.Event) (trace.Happening, bool) {
	h := trace.Happening{At: e.At}
	kind, known := kinds[e.Kind]
	switch {
	case e.Kind == bpf.Outlier:
		h.At, h.Outlier = e.Request.Published, outlierOf(&e.Request) // one moment for its whole batch
	case e.Kind == bpf.FlushRound:
		h.Flush, h.Ns = true, e.DataNs+e.JournalNs
	case known:
		h.Event = &trace.Event{Kind: kind, Epoch: e.Epoch, Ns: e.Ns, Count: e.Count}
	default:
		return h, false
	}
	return h, true
}

func outlierOf(r *probe.Request) *trace.Outlier {
	return &trace.Outlier{Type: r.Type.String(), Queue: r.Queue, Sector: r.Sector, Bytes: r.Bytes,
		Status: r.Status, Epoch: r.Epoch, Ns: trace.Times{trace.Total: r.Total(), trace.Ring: r.Ring(),
			trace.Store: r.Store(), trace.Device: r.Device, trace.Publication: r.Publication()}}
}
