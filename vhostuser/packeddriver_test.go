package vhostuser

// packedDriver is the guest's side of a packed ring. A chain's id is not its place: ids are
// handed out from the highest down, to catch a device that confuses the two.
type packedDriver struct {
	c                    ringConfig
	mem                  *memTable
	desc, driver, device []byte
	avail, used          spot
	held                 int
	ids                  []uint16
	slots                map[uint16]int
}

func newPackedDriver(t *memTable, c ringConfig) *packedDriver {
	d := &packedDriver{c: c, slots: map[uint16]int{}}
	d.avail, d.used = spotOf(c.base&0xffff), spotOf(c.base>>16)
	for i := range uint16(c.size) {
		d.ids = append(d.ids, 0xffff-i)
	}
	d.place(t)
	return d
}

func (d *packedDriver) place(t *memTable) {
	d.mem = t
	d.desc, _, _ = t.user(d.c.descUser, descLen*uint64(d.c.size))
	d.driver, _, _ = t.user(d.c.availUser, 4)
	d.device, _, _ = t.user(d.c.usedUser, 4)
}

func (d *packedDriver) at(t *memTable) driver {
	twin := *d
	twin.ids = append([]uint16(nil), d.ids...)
	twin.slots = map[uint16]int{}
	for id, n := range d.slots {
		twin.slots[id] = n
	}
	twin.place(t)
	return &twin
}

func (d *packedDriver) config() ringConfig { return d.c } // base: stale, as QEMU has it
func (d *packedDriver) room() int          { return int(d.c.size) - d.held }

func (d *packedDriver) add(indirect bool, segs ...seg) uint16 {
	if indirect {
		table := tablesAt + uint64(d.avail.idx)*tableRoom
		b := guestBytes(d.mem, table, tableRoom)
		for k, s := range segs {
			putDesc(b, k, s, 0, 0)
			put32(b[k*descLen:], 12, uint32(segFlags(s))<<16)
		}
		return d.addRaw([]seg{{addr: table, len: uint32(len(segs) * descLen)}}, flagIndirect)
	}
	return d.addRaw(segs, 0)
}

// addRaw makes descriptors available with more flags. The first one's flags come last.
func (d *packedDriver) addRaw(segs []seg, more uint16) uint16 {
	id := d.ids[len(d.ids)-1]
	d.ids = d.ids[:len(d.ids)-1]
	d.slots[id] = len(segs)
	at := d.avail
	var first uint32
	for k, s := range segs {
		flags := segFlags(s) | more | d.offered(at)
		if k+1 < len(segs) {
			flags |= flagNext
		}
		e := d.desc[int(at.idx)*descLen:]
		put64(e, 0, s.addr)
		put32(e, 8, s.len)
		if k == 0 {
			first = uint32(id) | uint32(flags)<<16
		} else {
			put32(e, 12, uint32(id)|uint32(flags)<<16)
		}
		at = at.after(1, int(d.c.size))
	}
	store32(d.desc, int(d.avail.idx)*descLen+12, first)
	d.avail = at
	d.held += len(segs)
	return id
}

func (d *packedDriver) offered(at spot) uint16 {
	if at.wrap {
		return flagAvail
	}
	return flagUsed
}

func (d *packedDriver) isUsed() (word uint32, ok bool) {
	word = load32(d.desc, int(d.used.idx)*descLen+12)
	flags := uint16(word >> 16)
	return word, (flags&flagAvail != 0) == d.used.wrap && (flags&flagUsed != 0) == d.used.wrap
}

func (d *packedDriver) poll() (uint16, uint32, bool) {
	word, ok := d.isUsed()
	if !ok {
		return 0, 0, false
	}
	id, n := uint16(word), get32(d.desc, int(d.used.idx)*descLen+8)
	d.used = d.used.after(d.slots[id], int(d.c.size))
	d.held -= d.slots[id]
	delete(d.slots, id)
	d.ids = append(d.ids, id)
	return id, n, true
}

func (d *packedDriver) wantsKick(added int) bool {
	word := load32(d.device, 0)
	switch flags := uint16(word >> 16); flags {
	case eventEnable:
		return true
	case eventDesc:
		back := spotOf(word&0xffff).to(d.avail, int(d.c.size))
		return back >= 1 && back <= added
	}
	return false
}

func (d *packedDriver) enable() bool {
	if d.c.eventIdx {
		store32(d.driver, 0, d.used.bits()|uint32(eventDesc)<<16)
	} else {
		store32(d.driver, 0, uint32(eventEnable)<<16)
	}
	_, more := d.isUsed()
	return more
}

func (d *packedDriver) disable() { store32(d.driver, 0, uint32(eventDisable)<<16) }
