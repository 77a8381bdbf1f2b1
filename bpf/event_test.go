package bpf

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// events collects what the tracer hands out, in the background.
func events(t *testing.T, tracer *Tracer) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan Event, 1000), make(chan error, 1)
	go func() { ended <- tracer.Events(ctx, func(e Event) { got <- e }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Events: %v", err)
		}
	})
	return got
}

func next(t *testing.T, got <-chan Event) Event {
	t.Helper()
	select {
	case e := <-got:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		panic("unreachable")
	}
}

// Each point's arguments arrive, in order, with the time.
func TestEvents(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{Volume: 1})
	got := events(t, tracer)
	before := probe.Now()
	p.do(opStart, 1, 7, 100)
	p.do(opStart, 0, 8, 100) // another volume
	p.do(opSealed, 1, 7, 200)
	p.do(opFlush, 1, 7, 30, 4, 5)
	p.do(opRetired, 1, 3, 300)
	p.do(opRollback, 1, 2, 400)
	p.do(opResubmit, 1, 6, 12)
	p.do(opMirrorSend, 1, 9, 4096)
	p.do(opMirrorAck, 1, 9, 500)
	want := []Event{
		{Kind: CheckpointStart, Epoch: 7, Ns: 100},
		{Kind: CheckpointSealed, Epoch: 7, Ns: 200},
		{Kind: FlushRound, Epoch: 7, Ns: 34, DataNs: 30, JournalNs: 4, Count: 5},
		{Kind: CheckpointRetired, Epoch: 3, Ns: 300},
		{Kind: Rollback, Epoch: 2, Ns: 400},
		{Kind: Resubmit, Queue: 6, Count: 12},
		{Kind: MirrorSend, Epoch: 9, Count: 4096},
		{Kind: MirrorAck, Epoch: 9, Ns: 500},
	}
	for _, w := range want {
		e := next(t, got)
		if e.At < before || e.At > probe.Now() {
			t.Errorf("%v at %d, which is not now", e.Kind, e.At)
		}
		before, e.At = e.At, 0
		if e != w {
			t.Errorf("%+v\nwant %+v", e, w)
		}
	}
}

// Requests that took at least the threshold are events, with their whole record; others are not.
func TestOutliers(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{Outliers: time.Millisecond})
	got := events(t, tracer)
	slow := probe.Request{
		Looked: 1000, Taken: 2000, Handed: 3000, Completed: 4000, Settled: 5000, Published: 1_001_000,
		Device: 600, Sector: 77, Epoch: 5, Bytes: 4096, Queue: 3, Type: probe.Write, Status: 1,
	}
	fast := slow
	fast.Published--
	p.requests([]probe.Request{fast, slow, fast}, 0)
	e := next(t, got)
	if e.Kind != Outlier || e.Request != slow || e.Ns != 1_000_000 || e.Queue != 3 || e.Epoch != 5 {
		t.Errorf("%+v", e)
	}
	p.do(opStart, 0, 1, 1)
	if e := next(t, got); e.Kind != CheckpointStart {
		t.Errorf("one more: %+v", e)
	}
}

// When nobody reads, the ring buffer fills; what finds no room is counted.
func TestDropped(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{})
	const n = 20_000
	p.tell(opStart, n, nil, 0, 1, 1)
	dropped := snapshot(t, tracer).Dropped
	if dropped == 0 || dropped >= n {
		t.Fatalf("%d of %d dropped", dropped, n)
	}
	got := events(t, tracer)
	for range n - dropped {
		next(t, got)
	}
}

// Closing the tracer ends Events.
func TestCloseEndsEvents(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{})
	ended := make(chan error, 1)
	go func() { ended <- tracer.Events(context.Background(), func(Event) {}) }()
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: // an error, if the maps were gone before it began
	case <-time.After(10 * time.Second):
		t.Fatal("Events goes on")
	}
}
