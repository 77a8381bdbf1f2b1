package vhosttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Op is the type of a virtio-blk request (virtio 1.2, section 5.2.6).
type Op uint32

// The request types.
const (
	OpRead        Op = 0
	OpWrite       Op = 1
	OpFlush       Op = 4
	OpGetID       Op = 8
	OpDiscard     Op = 11
	OpWriteZeroes Op = 13
)

// Status is the byte with which a device ends a request.
type Status uint8

// The statuses; StatusNone is what a request holds before the device wrote one.
const (
	StatusOK     Status = 0
	StatusIOErr  Status = 1
	StatusUnsupp Status = 2
	StatusNone   Status = 0xee
)

// Sizes of virtio-blk.
const (
	SectorSize = 512
	idLen      = 20
	blkHeader  = 16
	rangeLen   = 16
)

// defaultTimeout is Disk.Timeout's.
const defaultTimeout = 10 * time.Second

// Errors of a Disk.
var (
	ErrBusy    = errors.New("vhosttest: all requests of the disk are in flight")
	ErrTimeout = errors.New("vhosttest: no completion in time")
)

// StatusError is a request that the device ended with another status than OK.
type StatusError struct {
	Op     Op
	Sector uint64
	Status Status
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("vhosttest: request type %d at sector %d ended with status %d", e.Op, e.Sector, e.Status)
}

// Req is one request with its own guest memory. Get gives it out; Submit hands it to the
// device; Reap or Wait returns it; Put gives it back.
type Req struct {
	Op     Op
	Sector uint64
	Len    int // bytes of Data that the request carries, in either direction

	// Readable and Writable say how the two parts of a request are cut into descriptors: the
	// length of each piece, the rest in one more. The readable part is the header followed by
	// the data of a write, the writable part the data of a read followed by the status. Nil
	// stands for the cut that every driver makes, between the data and its neighbour.
	Readable, Writable []int
	// Shift moves the data away from the beginning of a page, by at most MaxShift bytes.
	Shift int

	Status  Status // after completion
	Written uint32 // bytes that the device reported as written
	ID      uint16 // the chain's id while it is in flight
	User    uint64 // the caller's

	disk *Disk
	slot uint64 // guest address of the page that precedes the data
	head uint64 // guest address of the header in a lean disk, 0 in others
	segs []Seg
}

// MaxShift bounds Req.Shift.
const MaxShift = 1024

// Data is the request's buffer in guest memory.
func (r *Req) Data() []byte {
	at := r.data()
	return r.disk.mem[at : at+uint64(r.disk.maxLen) : at+uint64(r.disk.maxLen)]
}

// GPA is the guest address of Data.
func (r *Req) GPA() uint64 { return r.data() }

func (r *Req) data() uint64 { return r.slot + pageSize + uint64(r.Shift) }

// Err is nil if the request ended well.
func (r *Req) Err() error {
	if r.Status == StatusOK {
		return nil
	}
	return &StatusError{r.Op, r.Sector, r.Status}
}

// Disk is a virtio-blk client on one ring. The header stands right before the data and the
// status right behind it, so that a descriptor may hold any piece of the whole.
type Disk struct {
	Timeout time.Duration // of the synchronous helpers; default 10 s

	d      *Driver
	mem    []byte
	maxLen int
	free   []*Req
	byID   []*Req
}

// NewDisk makes a client with depth requests of at most maxLen bytes each.
func NewDisk(d *Driver, depth, maxLen int) (*Disk, error) {
	k := &Disk{Timeout: defaultTimeout, d: d, mem: d.memory(), maxLen: maxLen, byID: make([]*Req, d.size)}
	body := (uint64(maxLen) + MaxShift + 1 + pageSize - 1) &^ (pageSize - 1)
	for range depth {
		at, err := d.f.mem.Alloc(pageSize+body, pageSize)
		if err != nil {
			return nil, err
		}
		k.free = append(k.free, &Req{disk: k, slot: at})
	}
	return k, nil
}

// Driver is the ring below.
func (k *Disk) Driver() *Driver { return k.d }

// Get takes a free request, nil if all are in flight.
func (k *Disk) Get() *Req {
	if len(k.free) == 0 {
		return nil
	}
	r := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	r.Readable, r.Writable, r.Shift, r.Len, r.User = nil, nil, 0, 0, 0
	return r
}

// Put gives a request back.
func (k *Disk) Put(r *Req) { k.free = append(k.free, r) }

// InFlight is the number of requests outstanding on the ring.
func (k *Disk) InFlight() int { return k.d.inFlight }

// Submit puts a request into the ring without a kick.
func (k *Disk) Submit(r *Req) error {
	if r.Len > k.maxLen || r.Shift > MaxShift {
		return fmt.Errorf("vhosttest: request of %d bytes at shift %d", r.Len, r.Shift)
	}
	r.build()
	id, err := k.d.Add(r.segs)
	if err != nil {
		return err
	}
	r.ID, k.byID[id] = id, r
	return nil
}

// Kick wakes the device if it wants to be woken.
func (k *Disk) Kick() { k.d.Kick() }

// Reap appends the requests that have finished to done, without waiting.
func (k *Disk) Reap(done []*Req) ([]*Req, error) {
	for {
		id, written, ok, err := k.d.Poll()
		if err != nil || !ok {
			return done, err
		}
		r := k.byID[id]
		if r == nil {
			return done, fmt.Errorf("%w: id %d belongs to no request of the disk", ErrBadUsed, id)
		}
		k.byID[id] = nil
		r.Written, r.Status = written, Status(k.mem[r.status()])
		done = append(done, r)
	}
}

// Wait sleeps until requests have finished and reaps them.
func (k *Disk) Wait(done []*Req, timeout time.Duration) ([]*Req, error) {
	end := time.Now().Add(timeout)
	for had := len(done); ; {
		var err error
		if done, err = k.Reap(done); err != nil || len(done) > had {
			return done, err
		}
		left := time.Until(end)
		if left <= 0 {
			return done, fmt.Errorf("%w: %d in flight after %v", ErrTimeout, k.d.inFlight, timeout)
		}
		if _, err := k.d.Wait(left); err != nil {
			return done, err
		}
	}
}

// build writes header and status and cuts the request into descriptors.
func (r *Req) build() {
	k, header := r.disk, r.header()
	le := binary.LittleEndian
	le.PutUint32(k.mem[header:], uint32(r.Op))
	le.PutUint32(k.mem[header+4:], 0)
	le.PutUint64(k.mem[header+8:], r.Sector)
	k.mem[r.status()] = byte(StatusNone)
	r.Status = StatusNone

	out, in := 0, r.Len
	if r.Op == OpWrite || r.Op == OpDiscard || r.Op == OpWriteZeroes {
		out, in = r.Len, 0
	}
	if r.head != 0 {
		r.lean(in > 0)
		return
	}
	r.segs = r.segs[:0]
	r.cut(header, blkHeader+out, r.Readable, blkHeader, false)
	r.cut(r.status()-uint64(in), in+1, r.Writable, in, true)
}

// status is the guest address of the status byte.
func (r *Req) status() uint64 {
	if r.head != 0 {
		return r.head + blkHeader
	}
	return r.data() + uint64(r.Len)
}

// header is the guest address of the header.
func (r *Req) header() uint64 {
	if r.head != 0 {
		return r.head
	}
	return r.data() - blkHeader
}

// cut makes descriptors of n bytes at a guest address; without lengths it cuts once.
func (r *Req) cut(at uint64, n int, lengths []int, usual int, write bool) {
	take := func(l int) {
		if l = min(l, n); l > 0 {
			r.segs = append(r.segs, Seg{at, uint32(l), write})
			at, n = at+uint64(l), n-l
		}
	}
	if lengths == nil {
		take(usual)
	}
	for _, l := range lengths {
		take(l)
	}
	take(n)
}

// Do submits one request, kicks and waits until it is done. Nothing else may be in flight.
func (k *Disk) Do(r *Req) error {
	if err := k.Submit(r); err != nil {
		return err
	}
	k.Kick()
	done, err := k.Wait(nil, k.Timeout)
	if err != nil {
		return err
	}
	if done[0] != r {
		return fmt.Errorf("vhosttest: another request was in flight beside a synchronous one")
	}
	return r.Err()
}

// sync is Do with a request of its own, filled by set; then after sees it.
func (k *Disk) sync(op Op, sector uint64, n int, set, after func(data []byte)) error {
	r := k.Get()
	if r == nil {
		return ErrBusy
	}
	r.Op, r.Sector, r.Len = op, sector, n
	if set != nil {
		set(r.Data())
	}
	err := k.Do(r)
	if r.Status == StatusNone {
		return err // still in the ring, and so are its buffers
	}
	if after != nil {
		after(r.Data())
	}
	k.Put(r)
	return err
}

// Read fills p from a sector on, in as many requests as it needs.
func (k *Disk) Read(sector uint64, p []byte) error {
	return k.each(sector, p, func(sector uint64, p []byte) error {
		return k.sync(OpRead, sector, len(p), nil, func(data []byte) { copy(p, data) })
	})
}

// Write writes p from a sector on, in as many requests as it needs.
func (k *Disk) Write(sector uint64, p []byte) error {
	return k.each(sector, p, func(sector uint64, p []byte) error {
		return k.sync(OpWrite, sector, len(p), func(data []byte) { copy(data, p) }, nil)
	})
}

func (k *Disk) each(sector uint64, p []byte, do func(uint64, []byte) error) error {
	for len(p) > 0 {
		n := min(len(p), k.maxLen&^(SectorSize-1))
		if err := do(sector, p[:n]); err != nil {
			return err
		}
		sector, p = sector+uint64(n/SectorSize), p[n:]
	}
	return nil
}

// Flush makes completed writes durable.
func (k *Disk) Flush() error { return k.sync(OpFlush, 0, 0, nil, nil) }

// Discard gives up sectors.
func (k *Disk) Discard(sector uint64, sectors uint32) error {
	return k.ranged(OpDiscard, sector, sectors, 0)
}

// WriteZeroes zeroes sectors, giving their space up if unmap is set.
func (k *Disk) WriteZeroes(sector uint64, sectors uint32, unmap bool) error {
	flags := uint32(0)
	if unmap {
		flags = 1
	}
	return k.ranged(OpWriteZeroes, sector, sectors, flags)
}

func (k *Disk) ranged(op Op, sector uint64, sectors, flags uint32) error {
	return k.sync(op, 0, rangeLen, func(data []byte) {
		copy(data, append(quads(sector), words(sectors, flags)...))
	}, nil)
}

// GetID reads the disk's serial number.
func (k *Disk) GetID() (string, error) {
	var id string
	err := k.sync(OpGetID, 0, idLen, nil, func(data []byte) {
		id = string(bytes.TrimRight(data[:idLen], "\x00"))
	})
	return id, err
}

// Capacity reads the disk's size in sectors from the config space.
func (f *FrontEnd) Capacity() (uint64, error) {
	p, err := f.Config(0, 60)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(p), nil
}
