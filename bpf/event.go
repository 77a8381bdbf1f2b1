package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/belay-vm/belay/internal/probe"
	"github.com/cilium/ebpf/ringbuf"
)

// EventKind is what an event tells of.
type EventKind uint32

// The kinds of events, as enum event_kind of c/trace.bpf.c counts them.
const (
	Outlier           EventKind = iota // Request took at least Options.Outliers
	CheckpointStart                    // Epoch was started, in Ns
	CheckpointSealed                   // all of Epoch is durable, Ns after it was asked for
	CheckpointRetired                  // Epoch was given up, in Ns
	Rollback                           // the disk was put back to Epoch, in Ns
	FlushRound                         // a flush round ended: DataNs, JournalNs, Count waiters
	Resubmit                           // Count requests of Queue were taken up again
	MirrorSend                         // Epoch was sent to the partner, Count bytes
	MirrorAck                          // the partner has all of Epoch, Ns after the machine stood still
	numEvents
)

var eventNames = [numEvents]string{
	"outlier", "checkpoint_start", "checkpoint_sealed", "checkpoint_retired", "rollback", "flush", "resubmit",
	"mirror_send", "mirror_ack",
}

// String is the kind's name: that of its probe point, outliers aside.
func (k EventKind) String() string {
	if k >= numEvents {
		return "unknown"
	}
	return eventNames[k]
}

// Event is one thing that happened. Its kind says which of the fields mean something. It is an
// entry of the ring buffer events.
type Event struct {
	At        uint64 // ns of CLOCK_MONOTONIC
	Kind      EventKind
	Queue     uint32
	Epoch     uint64
	Ns        uint64
	DataNs    uint64
	JournalNs uint64
	Count     uint64
	Request   probe.Request
}

// Events hands events to f, in the order in which they happened, until the context or the tracer
// ends; then it returns nil, when f has got all that happened before. Only one call may be under way
// at a time.
func (t *Tracer) Events(ctx context.Context, f func(Event)) error {
	reader, err := ringbuf.NewReader(t.points.Maps[traceMapEvents])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.done, cancel)()
	flushed := make(chan error, 1)
	context.AfterFunc(ctx, func() { flushed <- reader.Flush() })
	err = readEvents(reader, f)
	cancel()
	return errors.Join(err, <-flushed, reader.Close())
}

func readEvents(reader *ringbuf.Reader, f func(Event)) error {
	var record ringbuf.Record
	for {
		switch err := reader.ReadInto(&record); {
		case errors.Is(err, ringbuf.ErrFlushed):
			return nil
		case err != nil:
			return err
		}
		var e Event
		if err := binary.Read(bytes.NewReader(record.RawSample), binary.LittleEndian, &e); err != nil {
			return err
		}
		f(e)
	}
}
