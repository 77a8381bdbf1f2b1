package vhostuser

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// The guest of this package's own tests: memory on the heap, where the race detector sees
// it, and a driver for each layout. It knows only the specification, and reads and writes
// rings with the functions of order.go.

const (
	guestBase  = uint64(0x10000000) // guest address of the first region
	userBase   = uint64(0x7f5500000000)
	regionSize = uint64(1 << 20)
	ringsAt    = guestBase
	dataAt     = guestBase + regionSize/2 // tests put buffers here and upwards
)

// heapMapping is memory that a test owns, at a page's start.
func heapMapping(n uint64) *mapping {
	b := make([]byte, n+4096)
	skip := -addressOf(b) & 4095
	return &mapping{bytes: b[skip:][:n:n], heap: true, sealed: true}
}

// heapTable is a table of two adjacent regions.
func heapTable() *memTable {
	t := &memTable{}
	for i := range uint64(2) {
		r := memRegion{
			guestAddr: guestBase + i*regionSize, size: regionSize,
			userAddr: userBase + i*2*regionSize, mmapOffset: 4096,
		}
		t = t.plus(newRegion(r, heapMapping(4096+regionSize)))
	}
	return t
}

// clone copies table and memory: what a backend that dies now leaves to the next.
func (t *memTable) clone() *memTable {
	next := &memTable{}
	for _, r := range t.all() {
		m := heapMapping(uint64(len(r.m.bytes)))
		copy(m.bytes, r.m.bytes)
		next = next.plus(newRegion(r.memRegion, m))
	}
	return next
}

// toUser gives the user address of a guest address in the first region.
func toUser(gpa uint64) uint64 { return gpa - guestBase + userBase }

type seg struct {
	addr  uint64
	len   uint32
	write bool
}

// driver is the guest's side of a ring.
type driver interface {
	config() ringConfig
	add(indirect bool, segs ...seg) (id uint16) // makes one chain available
	room() int                                  // places for direct descriptors
	poll() (id uint16, n uint32, ok bool)
	wantsKick(added int) bool // after the last added places were made available
	enable() (more bool)      // asks for a call with the next used element
	disable()
	at(t *memTable) driver // the same driver on a copy of its memory
}

// tables are indirect tables, one for each place of the ring.
const (
	tablesAt  = guestBase + 0x40000
	tableRoom = 64 * descLen
)

func newDriver(t *memTable, packed bool, size int, eventIdx bool) driver {
	c := ringConfig{
		size: uint32(size), packed: packed, eventIdx: eventIdx, indirect: true,
		descUser:  toUser(ringsAt),
		availUser: toUser(ringsAt + 0x10000),
		usedUser:  toUser(ringsAt + 0x20000),
	}
	if packed {
		c.base = 0x80008000
		return newPackedDriver(t, c)
	}
	return newSplitDriver(t, c)
}

// rig is a queue and its driver on heap memory.
type rig struct {
	testing.TB
	mem *memTable
	drv driver
	q   *Queue
}

type rigOptions struct {
	packed, eventIdx bool
	size             int
	fl               *inflight
	log              *dirtyLog
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	mem := heapTable()
	return attach(t, mem, newDriver(mem, o.packed, o.size, o.eventIdx), o)
}

// attach starts a queue on a ring that exists.
func attach(t testing.TB, mem *memTable, d driver, o rigOptions) *rig {
	t.Helper()
	c := d.config()
	c.logUsed, c.logGuestAddr = o.log != nil, ringsAt+0x20000
	q, err := newQueue(c, mem, o.log, o.fl)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close)
	return &rig{TB: t, mem: mem, drv: d, q: q}
}

// next takes a chain that must be there and be good.
func (r *rig) next(c *Chain) {
	r.Helper()
	if ok, err := r.q.Next(c); !ok || err != nil {
		r.Fatalf("Next: %v, %v", ok, err)
	}
}

func (r *rig) empty() {
	r.Helper()
	var c Chain
	if ok, err := r.q.Next(&c); ok || err != nil {
		r.Fatalf("Next of an empty ring: %v, %v", ok, err)
	}
}

func (r *rig) publish() {
	r.Helper()
	if err := r.q.Publish(); err != nil {
		r.Fatal(err)
	}
}

// wantUsed polls one used element.
func (r *rig) wantUsed(id uint16, n uint32) {
	r.Helper()
	gotID, got, ok := r.drv.poll()
	if !ok || gotID != id || got != n {
		r.Fatalf("used: id %d, %d bytes, %v; want id %d, %d bytes", gotID, got, ok, id, n)
	}
}

func (r *rig) wantNoUsed() {
	r.Helper()
	if id, _, ok := r.drv.poll(); ok {
		r.Fatalf("used element of chain %d", id)
	}
}

// eventfd makes an eventfd and returns a duplicate to give away.
func eventfd(t testing.TB) (own, give int) {
	t.Helper()
	own, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(own) })
	give, err = unix.Dup(own)
	if err != nil {
		t.Fatal(err)
	}
	return own, give
}

// signals reads and resets an eventfd's count.
func signals(t testing.TB, fd int) uint64 {
	t.Helper()
	var b [8]byte
	switch _, err := unix.Read(fd, b[:]); {
	case errors.Is(err, unix.EAGAIN):
		return 0
	case err != nil:
		t.Fatal(err)
	}
	return get64(b[:], 0)
}

// bothLayouts runs a test on a split and on a packed ring.
func bothLayouts(t *testing.T, f func(t *testing.T, packed bool)) {
	t.Run("split", func(t *testing.T) { f(t, false) })
	t.Run("packed", func(t *testing.T) { f(t, true) })
}

// guestBytes is n bytes of guest memory; they must lie in one region.
func guestBytes(t *memTable, addr, n uint64) []byte { return t.guest(addr, n)[:n] }

// poke16 writes an aligned 16-bit word of a structure that the driver alone writes.
func poke16(b []byte, off int, v uint16) {
	if !swap16(b, off, v) {
		panic("another writes the driver's memory")
	}
}

// heapLog is a dirty log of n bytes on the heap.
func heapLog(n uint64) *dirtyLog {
	m := heapMapping(n)
	return &dirtyLog{m: m, bits: m.bytes}
}

// heapFlight is a fresh inflight region on the heap.
func heapFlight(queues, size int, packed bool) *inflight {
	m := heapMapping(uint64(queues * pieceLen(size, packed)))
	return &inflight{m: m, bytes: m.bytes, queues: queues, queueSize: size, packed: packed}
}

// clone copies the region: what a backend that dies now leaves to the next.
func (f *inflight) clone() *inflight {
	twin := heapFlight(f.queues, f.queueSize, f.packed)
	copy(twin.bytes, f.bytes)
	return twin
}
