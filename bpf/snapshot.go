package bpf

import (
	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/cilium/ebpf"
)

// SizeClass says how much data a request was about.
type SizeClass uint8

// The size classes, by their largest sizes.
const (
	SizeNone SizeClass = iota // no data
	Size4K
	Size16K
	Size64K
	Size256K
	SizeMore
	NumSizes
)

var sizeNames = [NumSizes]string{"none", "<=4K", "<=16K", "<=64K", "<=256K", ">256K"}

// String is the class as people read it.
func (s SizeClass) String() string {
	if s >= NumSizes {
		return "unknown"
	}
	return sizeNames[s]
}

// Key is what requests are counted by.
type Key struct {
	Queue uint16
	Type  probe.Type
	Size  SizeClass
}

// Parts are the requests of one key: how many, and how long they took, in all and in each part. It
// is an element of the map io_parts.
type Parts struct {
	Requests    uint64
	Bytes       uint64
	Errors      uint64 // answered with another status than OK
	Total       hist.Histogram
	Ring        hist.Histogram
	Store       hist.Histogram
	Device      hist.Histogram
	Publication hist.Histogram
	Ns          [5]uint64 // sums of Total, Ring, Store, Device and Publication, in this order
}

// UringOp is what io_uring did for one opcode.
type UringOp struct {
	Submitted uint64
	Completed uint64
	Errors    uint64
	Punted    uint64 // went to a worker thread of the kernel, as they would have blocked
	Ns        uint64 // sum of Latency
	Latency   hist.Histogram
}

// BlockOp is what a block device did for one sort of request.
type BlockOp struct {
	Requests uint64
	Bytes    uint64
	Errors   uint64
	QueueNs  uint64
	DeviceNs uint64
	Queue    hist.Histogram // until the device's driver had it
	Device   hist.Histogram // from there to its end
}

// Snapshot is everything that was counted since Attach.
type Snapshot struct {
	At            uint64 // ns of CLOCK_MONOTONIC
	Parts         map[Key]*Parts
	Kicks         uint64 // with Options.Signals
	Notifications uint64 // with Options.Signals
	Batches       uint64
	Inflight      uint64              // requests that queues still had when each last published a batch
	Dropped       uint64              // events that found no room: Events was too slow
	Lost          uint64              // requests that were not counted
	Uring         map[string]*UringOp // by opcode, as "write"; nil: not watched
	Block         map[string]*BlockOp // by sort, as "write" or "flush"; nil: not watched
}

// queueCount and lost are structs of the same names in c/trace.bpf.c.
type queueCount struct{ Kicks, Notifications, Batches, Inflight uint64 }

type lost struct{ Events, Records uint64 }

// Snapshot reads the maps. Counters go on meanwhile, so that those of one element may differ by
// what was counted in between.
func (t *Tracer) Snapshot() (*Snapshot, error) {
	s := &Snapshot{At: probe.Now(), Parts: map[Key]*Parts{}}
	steps := []func(*Snapshot) error{t.readParts, t.readQueues, t.readLost}
	if t.kernel != nil {
		steps = append(steps, t.readUring, t.readBlock)
	}
	for _, step := range steps {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (t *Tracer) readParts(s *Snapshot) error {
	var key Key
	parts := new(Parts)
	all := t.points.Maps[traceMapIoParts].Iterate()
	for all.Next(&key, parts) {
		s.Parts[key] = parts
		parts = new(Parts)
	}
	return all.Err()
}

func (t *Tracer) readQueues(s *Snapshot) error {
	return each(t.points.Maps[traceMapIoQueues], func(_ uint32, q *queueCount) {
		s.Kicks += q.Kicks
		s.Notifications += q.Notifications
		s.Batches += q.Batches
		s.Inflight += q.Inflight
	})
}

func (t *Tracer) readLost(s *Snapshot) error {
	return each(t.points.Maps[traceMapIoLost], func(_ uint32, l *lost) {
		s.Dropped, s.Lost = l.Events, l.Records
	})
}

func (t *Tracer) readUring(s *Snapshot) error {
	s.Uring = map[string]*UringOp{}
	return each(t.kernel.Maps[kernelMapUringOps], func(op uint32, u *UringOp) {
		if u.Submitted > 0 {
			s.Uring[opcodeName(op)] = u
		}
	})
}

func (t *Tracer) readBlock(s *Snapshot) error {
	s.Block = map[string]*BlockOp{}
	return each(t.kernel.Maps[kernelMapBlockOps], func(kind uint32, b *BlockOp) {
		if b.Requests > 0 {
			s.Block[blockKinds[kind]] = b
		}
	})
}

// each calls f for every element of an array, each in memory of its own.
func each[V any](m *ebpf.Map, f func(uint32, *V)) error {
	for i := range m.MaxEntries() {
		v := new(V)
		if err := m.Lookup(i, v); err != nil {
			return err
		}
		f(i, v)
	}
	return nil
}
