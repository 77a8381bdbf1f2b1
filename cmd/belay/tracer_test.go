//go:build !nobpf

package main

import (
	"slices"
	"testing"

	"github.com/belay-vm/belay/bpf"
	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/internal/trace"
)

// TestNamesAgree: recordings are read with the names that the tracer writes.
func TestNamesAgree(t *testing.T) {
	for kind := range probe.NumTypes {
		if trace.Types[kind] != kind.String() {
			t.Errorf("type %d is %q and %q", kind, kind, trace.Types[kind])
		}
	}
	for size := range bpf.NumSizes {
		if trace.Sizes[size] != size.String() {
			t.Errorf("size class %d is %q and %q", size, size, trace.Sizes[size])
		}
	}
	if len(trace.Types) != int(probe.NumTypes) || len(trace.Sizes) != int(bpf.NumSizes) {
		t.Error("there are more on one side")
	}
}

func TestSnapshotOf(t *testing.T) {
	one := func(ns uint64) (h hist.Histogram) {
		h[hist.Slot(ns)] = 1
		return h
	}
	s := snapshotOf(&bpf.Snapshot{At: 9, Kicks: 1, Notifications: 2, Dropped: 3, Lost: 4,
		Parts: map[bpf.Key]*bpf.Parts{{Queue: 3, Type: probe.Write, Size: bpf.Size64K}: {Requests: 1, Bytes: 2,
			Errors: 3, Total: one(1000), Ring: one(100), Store: one(200), Device: one(300), Publication: one(400),
			Ns: [5]uint64{1000, 100, 200, 300, 400}}},
		Uring: map[string]*bpf.UringOp{"writev": {Completed: 5, Errors: 1, Punted: 2, Ns: 7, Latency: one(7)}},
		Block: map[string]*bpf.BlockOp{"flush": {Requests: 1, Bytes: 2, QueueNs: 3, DeviceNs: 4, Queue: one(3),
			Device: one(4)}},
	})
	if s.At != 9 || s.Tally != (trace.Tally{Kicks: 1, Notifications: 2, Dropped: 3, Lost: 4}) {
		t.Errorf("snapshot: %+v", s)
	}
	c := s.Groups[trace.Key{Queue: 3, Type: "write", Size: "<=64K"}]
	if c == nil || c.Requests != 1 || c.Bytes != 2 || c.Errors != 3 || c.Ns[trace.Publication] != 400 {
		t.Fatalf("counts: %+v", c)
	}
	for p, ns := range map[trace.Part]uint64{trace.Total: 1000, trace.Ring: 100, trace.Store: 200,
		trace.Device: 300, trace.Publication: 400} {
		if c.Parts[p] != one(ns) {
			t.Errorf("%s has another histogram", p)
		}
	}
	k := s.Kernel[trace.KernelKey{Layer: "io_uring", Op: "writev"}]
	if k == nil || k.Operations != 5 || k.Punted != 2 {
		t.Errorf("io_uring: %+v", k)
	}
	for layer, ns := range map[string]uint64{"block queue": 3, "block device": 4} {
		k := s.Kernel[trace.KernelKey{Layer: layer, Op: "flush"}]
		if k == nil || k.Operations != 1 || k.Ns != ns || !slices.Contains(trace.Layers, layer) {
			t.Errorf("%s: %+v", layer, k)
		}
	}
}

func TestHappeningOf(t *testing.T) {
	h, ok := happeningOf(&bpf.Event{At: 5, Kind: bpf.Outlier, Request: probe.Request{Looked: 100, Taken: 110,
		Settled: 160, Published: 200, Device: 20, Type: probe.Read, Queue: 2, Sector: 8, Bytes: 512, Epoch: 4}})
	want := trace.Outlier{Type: "read", Queue: 2, Sector: 8, Bytes: 512, Epoch: 4,
		Ns: trace.Times{100, 10, 30, 20, 40}}
	if !ok || h.At != 200 || *h.Outlier != want {
		t.Errorf("outlier: %+v", h.Outlier)
	}
	h, ok = happeningOf(&bpf.Event{Kind: bpf.FlushRound, DataNs: 3, JournalNs: 4})
	if !ok || !h.Flush || h.Ns != 7 {
		t.Errorf("flush round: %+v", h)
	}
	h, ok = happeningOf(&bpf.Event{Kind: bpf.CheckpointSealed, Epoch: 6, Ns: 7})
	if !ok || *h.Event != (trace.Event{Kind: trace.Sealed, Epoch: 6, Ns: 7}) {
		t.Errorf("checkpoint: %+v", h.Event)
	}
	if _, ok = happeningOf(&bpf.Event{Kind: 4711}); ok {
		t.Error("an unknown event was taken for something")
	}
}
