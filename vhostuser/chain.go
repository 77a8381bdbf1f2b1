package vhostuser

import (
	"io"
	"math"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Descriptor flags (virtio 1.2, sections 2.7.5 and 2.8.6); flagAvail and flagUsed are the
// packed ring's.
const (
	flagNext     = uint16(1) << 0
	flagWrite    = uint16(1) << 1
	flagIndirect = uint16(1) << 2
	flagAvail    = uint16(1) << 7
	flagUsed     = uint16(1) << 15
)

// Limits of a chain.
const (
	descLen = 16
	// maxPieces bounds the vectors of a chain and the entries of an indirect table. It is
	// what the kernel takes in one readv (UIO_MAXIOV) and QEMU in one chain. An indirect table
	// may exceed a small ring: drivers do not always heed the rule that it must not.
	maxPieces = 1024
	// maxChainBytes bounds a chain's data: the used length has 32 bits.
	maxChainBytes = uint64(math.MaxUint32)
)

// descriptor is one element of a chain, read from guest memory once and judged afterwards.
type descriptor struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

// splitDescriptor decodes an element of a split ring's table, direct or indirect.
func splitDescriptor(lo, hi uint64) descriptor {
	return descriptor{addr: lo, len: uint32(hi), flags: uint16(hi >> 32), next: uint16(hi >> 48)}
}

// packedDescriptor decodes an element of a packed ring's indirect table, where the buffer id
// is reserved.
func packedDescriptor(lo, hi uint64) descriptor {
	return descriptor{addr: lo, len: uint32(hi), flags: uint16(hi >> 48)}
}

// Chain is one request's descriptors as vectors into guest memory. The device owns it and
// hands it to Next again and again; it must not be copied. Its vectors hold until Complete.
type Chain struct {
	Head               uint16 // the head's index (split) or the buffer id (packed)
	Readable, Writable []unix.Iovec
	ReadLen, WriteLen  uint64 // bytes of the two parts

	mem   *memTable
	iov   []unix.Iovec // Readable and Writable share it
	addrs []uint64     // guest address of each vector
	reads int          // vectors in the readable part
	seen  int          // descriptors walked
	write bool         // a writable one was among them
	bad   *ChainError  // the first thing that was wrong

	slots uint16 // places in a packed ring that the chain takes
	entry uint16 // its place in a packed inflight region
	taken bool   // between Next and Complete
}

// reset empties the chain for a walk through the memory of t.
func (c *Chain) reset(t *memTable) {
	*c = Chain{mem: t, iov: c.iov[:0], addrs: c.addrs[:0]}
}

// CopyIn fills p from the readable part, starting at byte off of it, however it is split. It
// returns io.ErrUnexpectedEOF if the part ends before p is full, ErrFault if memory vanished.
func (c *Chain) CopyIn(p []byte, off uint64) (n int, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), c, &err)
	for i := range c.Readable {
		if b := pieceAt(&c.Readable[i], &off); b != nil && n < len(p) {
			n += copy(p[n:], b)
		}
	}
	return n, short(n, len(p))
}

// CopyOut writes p to the writable part, starting at byte off of it. Errors are CopyIn's.
func (c *Chain) CopyOut(p []byte, off uint64) (n int, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), c, &err)
	for i := range c.Writable {
		if b := pieceAt(&c.Writable[i], &off); b != nil && n < len(p) {
			n += copy(b, p[n:])
		}
	}
	return n, short(n, len(p))
}

// pieceAt is v's memory from byte off on, nil if off lies behind v; off becomes relative to
// the next vector.
func pieceAt(v *unix.Iovec, off *uint64) []byte {
	if *off >= v.Len {
		*off -= v.Len
		return nil
	}
	b := bytesOf(v)[*off:]
	*off = 0
	return b
}

func short(n, want int) error {
	if n < want {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (c *Chain) owns(addr uintptr) bool { return c.mem.owns(addr) }

// walkRules is what a ring's features say about the chains in it.
type walkRules struct{ indirect, packed bool }

// add takes the next descriptor of the ring. Once one was bad the rest are not looked at, so
// that the walk of a packed ring can go on to the chain's end.
func (c *Chain) add(d descriptor, rules walkRules) {
	switch {
	case c.bad != nil:
	case d.flags&flagIndirect == 0:
		c.addPiece(d)
	case !rules.indirect:
		c.fail(d.addr, ErrIndirectOff)
	case d.flags&flagNext != 0:
		c.fail(d.addr, ErrIndirectChain)
	default:
		c.addTable(d, rules.packed)
	}
}

// addPiece adds a descriptor's memory. A descriptor of no bytes counts in the order of
// readable and writable ones and adds nothing; its address is not looked at.
func (c *Chain) addPiece(d descriptor) {
	write := d.flags&flagWrite != 0
	if c.write && !write {
		c.fail(d.addr, ErrChainOrder)
		return
	}
	c.write = write
	if c.ReadLen+c.WriteLen+uint64(d.len) > maxChainBytes {
		c.fail(uint64(d.len), ErrChainTotal)
		return
	}
	if c.addVectors(d.addr, uint64(d.len)) {
		c.count(write, uint64(d.len))
		c.seen++
	}
}

// addVectors adds one vector for each region that n bytes at addr touch, mostly one. The sum
// addr+len cannot overflow: len is cut to the region's end.
func (c *Chain) addVectors(addr, n uint64) bool {
	for n > 0 {
		host := c.mem.guest(addr, n)
		if host == nil {
			return c.fail(addr, ErrUnmapped)
		}
		if len(c.iov) == maxPieces {
			return c.fail(addr, ErrChainPieces)
		}
		v := unix.Iovec{Base: &host[0]}
		v.SetLen(len(host))
		c.iov = append(c.iov, v)
		c.addrs = append(c.addrs, addr)
		addr += uint64(len(host))
		n -= uint64(len(host))
	}
	return true
}

func (c *Chain) count(write bool, n uint64) {
	if write {
		c.WriteLen += n
		return
	}
	c.ReadLen += n
	c.reads = len(c.iov)
}

// addTable walks the indirect table that d names. The table of a packed ring is a plain
// list, in which NEXT is reserved (virtio 1.2, section 2.8.7).
func (c *Chain) addTable(d descriptor, packed bool) {
	entries := int(d.len / descLen)
	if entries == 0 || entries > maxPieces || d.len%descLen != 0 {
		c.fail(uint64(d.len), ErrIndirectSize)
		return
	}
	// The guest allocates a table as one piece of memory, so it never spans two regions.
	table := c.mem.guest(d.addr, uint64(d.len))
	if len(table) < int(d.len) {
		c.fail(d.addr, ErrUnmapped)
		return
	}
	if packed {
		c.walkList(table)
	} else {
		c.walkTable(table)
	}
}

// walkList takes every entry of a packed ring's indirect table.
func (c *Chain) walkList(table []byte) {
	for off := 0; off < len(table) && c.bad == nil; off += descLen {
		c.addEntry(packedDescriptor(loadPair(table, off)))
	}
}

// walkTable follows the chain that starts with the first entry of a split ring's indirect
// table. A chain of more steps than the table has entries is a loop.
func (c *Chain) walkTable(table []byte) {
	entries := len(table) / descLen
	i := 0
	for range entries {
		d := splitDescriptor(loadPair(table, i*descLen))
		c.addEntry(d)
		if c.bad != nil || d.flags&flagNext == 0 {
			return
		}
		if i = int(d.next); i >= entries {
			c.fail(uint64(i), ErrChainNext)
			return
		}
	}
	c.fail(uint64(i), ErrChainLoop)
}

func (c *Chain) addEntry(d descriptor) {
	if d.flags&flagIndirect != 0 {
		c.fail(d.addr, ErrIndirectNest)
		return
	}
	c.addPiece(d)
}

// fail notes what is wrong with the chain, unless something was already. It returns false.
func (c *Chain) fail(value uint64, err error) bool {
	if c.bad == nil {
		c.bad = &ChainError{Index: c.seen, Value: value, Err: err}
	}
	return false
}

// finish ends the walk: it cuts the vectors into the two parts, or empties a bad chain.
func (c *Chain) finish(head uint16) error {
	c.Head, c.taken = head, true
	if c.bad != nil {
		c.bad.Head = head
		c.iov, c.addrs = c.iov[:0], c.addrs[:0]
		c.reads, c.ReadLen, c.WriteLen = 0, 0, 0
	}
	c.Readable = c.iov[:c.reads:c.reads]
	c.Writable = c.iov[c.reads:]
	if c.bad != nil {
		return c.bad
	}
	return nil
}

// markWritable marks the pages of the writable part dirty.
func (c *Chain) markWritable(l *dirtyLog) {
	for i := range c.Writable {
		l.mark(c.addrs[c.reads+i], c.Writable[i].Len)
	}
}
