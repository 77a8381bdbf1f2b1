package vhosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Seg is one descriptor: a piece of guest memory that the device reads or writes.
type Seg struct {
	GPA   uint64
	Len   uint32
	Write bool // by the device
}

// Mode says how Add lays out a chain.
type Mode int

// The modes. Auto is Indirect for chains of two and more if that was negotiated, else Direct.
const (
	Auto Mode = iota
	Direct
	Indirect
	Mixed // split rings: the first descriptor direct, the rest in an indirect table
)

// Errors of a driver.
var (
	ErrRingFull = errors.New("vhosttest: the ring is full")
	ErrBadUsed  = errors.New("vhosttest: the back end returned what it was not given")
)

// layout is what split and packed rings do differently.
type layout interface {
	// add puts a chain into the ring: the first direct descriptors as they are, the others,
	// if any, in the indirect table of the chain's id.
	add(segs []Seg, direct int) (uint16, error)
	poll() (id uint16, written uint32, ok bool, err error)
	pending() bool // whether poll would return something
	needKick() bool
	kicked()
	armCall()              // ask for an interrupt with the next used element
	suppressCall(off bool) // ask for none
	restore() uint32       // the base to start with after a back end's death
	reset() uint32         // the base of a fresh ring
}

// Driver is the guest's end of one ring. Ids are below the ring's size and belong to a
// request from Add to the Poll that returns them.
type Driver struct {
	f     *FrontEnd
	index int
	size  int

	desc, driver, device uint64 // guest addresses of the ring's parts
	tables               uint64 // one indirect table per id
	tableLen             int    // descriptors in each of them
	lay                  layout
	Mode                 Mode

	call, err, kick int // eventfds, -1 if none
	base            uint32
	started         bool
	inFlight        int
}

// Indirect tables have room for maxTable descriptors, in large rings for smallTable.
const (
	maxTable   = 256
	smallTable = 16
	largeRing  = 1024
)

func newDriver(f *FrontEnd, index int) (*Driver, error) {
	d := &Driver{f: f, index: index, size: f.o.QueueSize, tableLen: maxTable, call: -1, err: -1, kick: -1}
	switch {
	case f.o.TableLen > 0:
		d.tableLen = f.o.TableLen
	case d.size > largeRing:
		d.tableLen = smallTable
	}
	if err := d.allocate(); err != nil {
		return nil, err
	}
	if f.o.Packed && f.features()&FeaturePacked != 0 {
		d.lay = newPacked(d)
	} else {
		d.lay = newSplit(d)
	}
	d.base = d.lay.reset()
	var err error
	if d.call, err = eventfd(0); err != nil {
		return nil, err
	}
	if d.err, err = eventfd(0); err != nil {
		return nil, err
	}
	return d, nil
}

// allocate gives each part of the ring pages of its own, so that the dirty log tells them
// apart. The driver part is 6 + 2n bytes, the device part 6 + 8n; packed rings need less.
func (d *Driver) allocate() (err error) {
	n := uint64(d.size)
	for _, part := range []struct {
		at  *uint64
		len uint64
	}{{&d.desc, 16 * n}, {&d.driver, 8 + 2*n}, {&d.device, 8 + 8*n}, {&d.tables, 16 * uint64(d.tableLen) * n}} {
		if *part.at, err = d.f.mem.Alloc(part.len, pageSize); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) close() {
	for _, fd := range []*int{&d.call, &d.err, &d.kick} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
}

// newKick makes the kick eventfd of a start, already signalled.
func (d *Driver) newKick() (err error) {
	if d.kick >= 0 {
		_ = unix.Close(d.kick)
	}
	d.kick, err = eventfd(1)
	return err
}

// Index is the ring's number.
func (d *Driver) Index() int { return d.index }

// Size is the number of descriptors.
func (d *Driver) Size() int { return d.size }

// InFlight is the number of requests outstanding.
func (d *Driver) InFlight() int { return d.inFlight }

// FrontEnd is the front end that the ring belongs to.
func (d *Driver) FrontEnd() *FrontEnd { return d.f }

// Base is the index that the next start begins with: what the last Stop returned. SetBase
// overrides it, as a migration does.
func (d *Driver) Base() uint32 { return d.base }

// SetBase sets the index that the next start begins with.
func (d *Driver) SetBase(base uint32) { d.base = base }

// Areas are the guest addresses of the descriptor, driver and device parts.
func (d *Driver) Areas() (desc, driver, device uint64) { return d.desc, d.driver, d.device }

// CallFD is the eventfd by which the device interrupts.
func (d *Driver) CallFD() int { return d.call }

// KickFD is the eventfd of the current start.
func (d *Driver) KickFD() int { return d.kick }

// ErrFD is signalled by the back end when the ring is broken.
func (d *Driver) ErrFD() int { return d.err }

// Add puts a request into the ring; the device may see it at once. Kick tells the device.
func (d *Driver) Add(segs []Seg) (uint16, error) {
	mode := d.Mode
	if mode == Auto && (len(segs) < 2 || d.f.Acked()&FeatureIndirect == 0) {
		mode = Direct
	}
	return d.AddMode(segs, mode)
}

// AddMode is Add with the layout chosen by the caller.
func (d *Driver) AddMode(segs []Seg, mode Mode) (uint16, error) {
	if len(segs) == 0 || mode != Direct && len(segs) > d.tableLen {
		return 0, fmt.Errorf("vhosttest: a chain of %d descriptors", len(segs))
	}
	direct := 0
	switch {
	case mode == Direct || mode == Mixed && len(segs) == 1:
		direct = len(segs)
	case mode == Mixed:
		direct = 1
	}
	id, err := d.lay.add(segs, direct)
	if err == nil {
		d.inFlight++
	}
	return id, err
}

// Kick wakes the device if it wants to be woken.
func (d *Driver) Kick() {
	if d.lay.needKick() {
		d.KickAlways()
	}
	d.lay.kicked()
}

// KickAlways wakes the device whether it wants to be woken or not.
func (d *Driver) KickAlways() { signal(d.kick) }

// Poll returns a finished request, ok false if there is none. An error means that the back
// end broke the rules of the ring.
func (d *Driver) Poll() (id uint16, written uint32, ok bool, err error) {
	id, written, ok, err = d.lay.poll()
	if ok {
		d.inFlight--
	}
	return id, written, ok, err
}

// Pending reports whether Poll would return something.
func (d *Driver) Pending() bool { return d.lay.pending() }

// SuppressCalls asks the device for no interrupts, or for interrupts again.
func (d *Driver) SuppressCalls(off bool) { d.lay.suppressCall(off) }

// Wait sleeps until the device interrupts, or does not sleep if requests have finished
// already; false means that neither happened in time. The caller polls either way.
func (d *Driver) Wait(timeout time.Duration) (bool, error) {
	d.lay.armCall()
	if d.lay.pending() {
		return true, nil
	}
	return d.WaitCall(timeout)
}

// WaitCall waits for the call eventfd and resets it.
func (d *Driver) WaitCall(timeout time.Duration) (bool, error) { return waitFD(d.call, timeout) }

// WaitErr waits for the error eventfd and resets it.
func (d *Driver) WaitErr(timeout time.Duration) (bool, error) { return waitFD(d.err, timeout) }

// restore prepares for a start after the back end's death.
func (d *Driver) restore() {
	if d.started {
		d.base = d.lay.restore()
	}
	d.started = false
}

// Reset empties the stopped ring and goes back to the base of a fresh one. Requests that were
// in flight are forgotten. FrontEnd.Reset does it for all rings.
func (d *Driver) Reset() {
	d.base = d.lay.reset()
	d.inFlight = 0
}

// memory is guest memory; rings lie in the part from guest address 0.
func (d *Driver) memory() []byte { return d.f.mem.base }

// table writes the indirect table of a chain and returns its place. Descriptors of split
// rings are linked by next, those of packed rings stand one after the other.
func (d *Driver) table(id uint16, segs []Seg, next bool) Seg {
	at := d.tables + uint64(id)*uint64(d.tableLen)*descLen
	for i, s := range segs {
		flags, link := uint16(0), uint16(0)
		if s.Write {
			flags |= descWrite
		}
		if next && i < len(segs)-1 {
			flags, link = flags|descNext, uint16(i+1)
		}
		p := d.memory()[at+uint64(i)*descLen:]
		if next {
			putDesc(p, s, flags, link)
		} else {
			putDesc(p, s, 0, flags)
		}
	}
	return Seg{GPA: at, Len: uint32(len(segs)) * descLen}
}

// Descriptor flags.
const (
	descNext     = uint16(1)
	descWrite    = uint16(2)
	descIndirect = uint16(4)
	descLen      = 16
)

// putDesc writes a split descriptor. A packed one in an indirect table has the same shape:
// its id and flags stand where flags and next are here, and are given in that order.
func putDesc(p []byte, s Seg, a, b uint16) {
	le := binary.LittleEndian
	le.PutUint64(p, s.GPA)
	le.PutUint32(p[8:], s.Len)
	le.PutUint16(p[12:], a)
	le.PutUint16(p[14:], b)
}

func signal(fd int) {
	one := [8]byte{1}
	_, _ = unix.Write(fd, one[:]) // full only after 2^64 kicks that nobody read
}

func waitFD(fd int, timeout time.Duration) (bool, error) {
	end := time.Now().Add(timeout)
	for {
		left := max(time.Until(end), 0)
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, int((left+time.Millisecond-1)/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false, err
		}
		var b [8]byte
		_, err = unix.Read(fd, b[:])
		if errors.Is(err, unix.EAGAIN) {
			err = nil
		}
		return true, err
	}
}
