package vhostuser

import "slices"

// splitDriver is the guest's side of a split ring.
type splitDriver struct {
	c                 ringConfig
	mem               *memTable
	desc, avail, used []byte
	free              []uint16   // descriptors, last in first out
	chains            [][]uint16 // of a head
	availIdx, usedIdx uint16
}

func newSplitDriver(t *memTable, c ringConfig) *splitDriver {
	d := &splitDriver{c: c, chains: make([][]uint16, c.size)}
	for i := range uint16(c.size) {
		d.free = append(d.free, uint16(c.size)-1-i)
	}
	d.place(t)
	return d
}

func (d *splitDriver) place(t *memTable) {
	n := uint64(d.c.size)
	d.mem = t
	d.desc, _, _ = t.user(d.c.descUser, descLen*n)
	d.avail, _, _ = t.user(d.c.availUser, 6+2*n)
	d.used, _, _ = t.user(d.c.usedUser, 8+8*n)
}

func (d *splitDriver) at(t *memTable) driver {
	twin := *d
	twin.free = slices.Clone(d.free)
	twin.chains = make([][]uint16, len(d.chains))
	for head, list := range d.chains {
		twin.chains[head] = slices.Clone(list)
	}
	twin.place(t)
	return &twin
}

func (d *splitDriver) config() ringConfig {
	c := d.c
	c.base = uint32(load32(d.used, 0) >> 16) // what QEMU says after a crash
	return c
}

func (d *splitDriver) room() int { return len(d.free) }

func putDesc(b []byte, i int, s seg, flags, next uint16) {
	e := b[i*descLen:]
	put64(e, 0, s.addr)
	put32(e, 8, s.len)
	put32(e, 12, uint32(flags)|uint32(next)<<16)
}

func segFlags(s seg) uint16 {
	if s.write {
		return flagWrite
	}
	return 0
}

func (d *splitDriver) add(indirect bool, segs ...seg) uint16 {
	if indirect {
		i := d.free[len(d.free)-1]
		table := tablesAt + uint64(i)*tableRoom
		d.putTable(guestBytes(d.mem, table, tableRoom), segs)
		return d.addRaw(seg{addr: table, len: uint32(len(segs) * descLen)}, flagIndirect)
	}
	head := d.free[len(d.free)-1]
	list := d.chains[head][:0]
	for k := range segs {
		list = append(list, d.free[len(d.free)-1-k])
	}
	d.free = d.free[:len(d.free)-len(segs)]
	for k, s := range segs {
		flags, next := segFlags(s), uint16(0)
		if k+1 < len(segs) {
			flags, next = flags|flagNext, list[k+1]
		}
		putDesc(d.desc, int(list[k]), s, flags, next)
	}
	d.chains[head] = list
	d.offer(head)
	return head
}

// addRaw makes one descriptor available as it is.
func (d *splitDriver) addRaw(s seg, flags uint16) uint16 {
	i := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.chains[i] = append(d.chains[i][:0], i)
	putDesc(d.desc, int(i), s, flags, 0)
	d.offer(i)
	return i
}

func (d *splitDriver) putTable(table []byte, segs []seg) {
	for k, s := range segs {
		flags := segFlags(s)
		if k+1 < len(segs) {
			flags |= flagNext
		}
		putDesc(table, k, s, flags, uint16(k+1))
	}
}

func (d *splitDriver) offer(head uint16) {
	poke16(d.avail, 4+2*(int(d.availIdx)&(int(d.c.size)-1)), head)
	d.availIdx++
	poke16(d.avail, 2, d.availIdx)
}

func (d *splitDriver) poll() (uint16, uint32, bool) {
	if uint16(load32(d.used, 0)>>16) == d.usedIdx {
		return 0, 0, false
	}
	off := 4 + 8*(int(d.usedIdx)&(int(d.c.size)-1))
	id, n := uint16(get32(d.used, off)), get32(d.used, off+4)
	d.usedIdx++
	d.free = append(d.free, d.chains[id]...)
	d.chains[id] = d.chains[id][:0]
	return id, n, true
}

func (d *splitDriver) wantsKick(added int) bool {
	if !d.c.eventIdx {
		return load32(d.used, 0)&1 == 0
	}
	event := load16(d.used, 4+8*int(d.c.size))
	return d.availIdx-event-1 < uint16(added)
}

func (d *splitDriver) enable() bool {
	if d.c.eventIdx {
		d.setEvent(d.usedIdx)
	} else {
		poke16(d.avail, 0, 0)
	}
	return uint16(load32(d.used, 0)>>16) != d.usedIdx
}

func (d *splitDriver) disable() {
	if !d.c.eventIdx {
		poke16(d.avail, 0, availNoInterrupt)
	}
}

func (d *splitDriver) setEvent(v uint16) { poke16(d.avail, 4+2*int(d.c.size), v) }
