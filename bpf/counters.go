package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// The sizes of an element, one for each queue, in bytes: struct io_count and struct io_latency of
// c/counters.bpf.c.
const (
	CountBytes   = 232
	LatencyBytes = 7 * 256 * 8
)

// Counters is memory for a daemon's always-on counters, which others can read as the maps io_count
// and io_latency. Writing to it costs what memory costs.
type Counters struct {
	Count   []byte // CountBytes for each queue
	Latency []byte // LatencyBytes for each queue
	Note    string // why there are no pins; "" if there are

	maps *ebpf.Collection
	pins *pins // nil: none
}

// OpenCounters makes the memory, all zero, and pins it in PinDir(name). The error is a *Missing:
// the daemon then counts in memory of its own.
func OpenCounters(name string, queues int) (*Counters, error) {
	spec, err := loadCounters()
	if err != nil {
		return nil, err
	}
	for _, m := range spec.Maps {
		m.MaxEntries = uint32(queues)
	}
	_ = rlimit.RemoveMemlock() // as in Tracer.load
	maps, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, &Missing{whyNotLoaded(err), stillMemory, err}
	}
	c := &Counters{maps: maps}
	if err := c.mapMemory(queues); err != nil {
		return nil, errors.Join(&Missing{fmt.Sprintf("mapped maps: %v", err), stillMemory, err}, c.Close())
	}
	if err := c.pin(name); err != nil {
		c.Note = err.Error()
	}
	return c, nil
}

func (c *Counters) mapMemory(queues int) (err error) {
	c.Count, err = mapped(c.maps.Maps[countersMapIoCount], queues*CountBytes)
	if err == nil {
		c.Latency, err = mapped(c.maps.Maps[countersMapIoLatency], queues*LatencyBytes)
	}
	return err
}

func mapped(m *ebpf.Map, length int) ([]byte, error) {
	return unix.Mmap(m.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (c *Counters) pin(name string) (err error) {
	if c.pins, err = claim(name, byDaemon, self()); err == nil {
		err = c.pins.pinMaps(c.maps)
	}
	return err
}

// Close removes the pins and the memory: nobody may write to it any more.
func (c *Counters) Close() error {
	var errs []error
	if c.pins != nil {
		errs = append(errs, c.pins.remove())
	}
	for _, memory := range [][]byte{c.Count, c.Latency} {
		if memory != nil {
			errs = append(errs, unix.Munmap(memory))
		}
	}
	c.Count, c.Latency = nil, nil
	c.maps.Close()
	return errors.Join(errs...)
}
