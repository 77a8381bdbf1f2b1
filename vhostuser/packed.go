package vhostuser

// Packed ring (virtio 1.2, section 2.8): one ring of descriptors, {addr u64, len u32, id u16,
// flags u16}, and two event suppression areas, {off_wrap u16, flags u16}. The driver's is
// where SET_VRING_ADDR puts the avail ring, the device's where it puts the used ring.
const (
	packedLenOff   = 8  // within a descriptor
	packedIDOff    = 12 // id and flags are one 32-bit word
	eventAreaLen   = 4
	eventIdxMask   = uint16(0x7fff)
	eventWrap      = uint16(0x8000)
	eventEnable    = uint16(0) // RING_EVENT_FLAGS_ENABLE
	eventDisable   = uint16(1)
	eventDesc      = uint16(2) // RING_EVENT_FLAGS_DESC
	eventFlagsMask = uint16(3)
	wrapBit        = uint32(0x8000) // in the halves of a ring base
)

// spot is a place in a packed ring with the wrap counter of the lap.
type spot struct {
	idx  uint16
	wrap bool
}

// after is the spot n places further on; n is at most the ring's size.
func (p spot) after(n, size int) spot {
	if i := int(p.idx) + n; i >= size {
		return spot{uint16(i - size), !p.wrap}
	}
	return spot{p.idx + uint16(n), p.wrap}
}

// to is how many places q lies ahead of p, within two laps.
func (p spot) to(q spot, size int) int {
	d := int(q.idx) - int(p.idx)
	if p.wrap != q.wrap {
		d += size
	}
	return (d + 2*size) % (2 * size)
}

// available reports whether a descriptor's flags offer it to the device in the lap of p.
func (p spot) available(flags uint16) bool {
	return (flags&flagAvail != 0) == p.wrap && (flags&flagUsed != 0) != p.wrap
}

// usedFlags are the flags that give a descriptor back in the lap of p.
func (p spot) usedFlags(written uint32) uint16 {
	f := uint16(0)
	if p.wrap {
		f = flagAvail | flagUsed
	}
	if written > 0 {
		f |= flagWrite
	}
	return f
}

func (p spot) bits() uint32 {
	if p.wrap {
		return uint32(p.idx) | wrapBit
	}
	return uint32(p.idx)
}

func spotOf(bits uint32) spot { return spot{uint16(bits &^ wrapBit), bits&wrapBit != 0} }

// packed is a packed ring seen from the device.
type packed struct {
	ringConfig
	desc, driver, device []byte
	log                  writeLog // the device event area's
	descLog              writeLog // the ring's own

	avail  spot   // the next descriptor to take
	used   spot   // where the next used descriptor goes
	held   int    // places taken and not yet published
	events uint32 // the device event area as we wrote it
	wrote  bool   // events is valid
	track  *packedTrack
}

func newPacked(c ringConfig, track *packedTrack) (*packed, error) {
	if c.size == 0 || c.size > maxRingSize {
		return nil, c.fail("ring size", uint64(c.size), ErrRingSize)
	}
	avail, used := spotOf(c.base&0xffff), spotOf(c.base>>16)
	if uint32(avail.idx) >= c.size || uint32(used.idx) >= c.size {
		return nil, c.fail("ring base", uint64(c.base), ErrRingIndex)
	}
	return &packed{ringConfig: c, avail: avail, used: used, track: track}, nil
}

// place finds the ring's parts in memory.
func (p *packed) place(t *memTable) error {
	desc, addr, err := p.part(t, "descriptor ring", p.descUser, uint64(p.size)*descLen, descLen)
	if err != nil {
		return err
	}
	driver, _, err := p.part(t, "driver event area", p.availUser, eventAreaLen, eventAreaLen)
	if err != nil {
		return err
	}
	device, _, err := p.part(t, "device event area", p.usedUser, eventAreaLen, eventAreaLen)
	if err != nil {
		return err
	}
	p.desc, p.driver, p.device = desc, driver, device
	p.descLog.addr = addr
	return nil
}

// setLog: log_guest_addr is the device event area's, as QEMU sends it; the used descriptors
// are written to the ring, whose guest address the memory table knows.
func (p *packed) setLog(l writeLog) {
	p.log = l
	p.descLog.log = l.log
}

// start takes up the ring and returns the chains to resubmit. With an inflight region that a
// dead backend left, the region says where the ring stands: the front end cannot know.
func (p *packed) start() ([]resubmission, error) {
	again, used, err := p.track.recover(p.used, int(p.size), p.flagsAt)
	if err != nil {
		return nil, p.fail("inflight region", uint64(p.used.bits()), err)
	}
	if used != nil {
		p.used, p.avail = *used, *used
		for _, r := range again {
			p.held += int(r.slots)
		}
		if p.held > int(p.size) {
			return nil, p.fail("inflight region", uint64(p.held), ErrRingIndex)
		}
		p.avail = p.used.after(p.held, int(p.size))
	}
	return again, nil
}

// idFlags reads a descriptor's id and flags, in one word, and orders the reads of its other
// words behind it.
func (p *packed) idFlags(i uint16) uint32 { return load32(p.desc, int(i)*descLen+packedIDOff) }

func (p *packed) flagsAt(i uint16) uint16 { return uint16(p.idFlags(i) >> 16) }

// rest completes a descriptor whose id and flags were read; they are not read again.
func (p *packed) rest(i uint16, idFlags uint32) descriptor {
	off := int(i) * descLen
	return descriptor{
		addr: load64(p.desc, off), len: load32(p.desc, off+packedLenOff), flags: uint16(idFlags >> 16),
	}
}

func (p *packed) available() bool { return p.avail.available(uint16(p.idFlags(p.avail.idx) >> 16)) }

// take fills c with the next chain, which available saw. The flags of the first descriptor offer
// the whole chain. (They are read once more: a guest that changed them meanwhile gets what it says
// now.) The walk always goes to the chain's end, because only that tells its id and where the next
// one begins.
func (p *packed) take(c *Chain) (bool, error) {
	word := p.idFlags(p.avail.idx)
	if err := p.track.begin(c); err != nil {
		return false, p.fail("inflight region", uint64(p.avail.idx), err)
	}
	rules := walkRules{indirect: p.indirect, packed: true}
	for at, n := p.avail, 1; ; n++ {
		if p.held+n > int(p.size) {
			return false, p.fail("descriptor", uint64(at.idx), ErrChainLoop)
		}
		d, id := p.rest(at.idx, word), uint16(word)
		last := d.flags&flagNext == 0
		if err := p.track.add(c, d, id, last); err != nil {
			return false, p.fail("inflight region", uint64(at.idx), err)
		}
		c.add(d, rules)
		at = at.after(1, int(p.size))
		if last {
			p.avail, p.held, c.slots = at, p.held+n, uint16(n)
			return true, c.finish(id)
		}
		word = p.idFlags(at.idx)
	}
}

// retake fills c with a chain that a backend took before it died. Its descriptors come from
// the inflight region: in the ring others may have taken their place.
func (p *packed) retake(c *Chain, r resubmission) error {
	rules := walkRules{indirect: p.indirect, packed: true}
	id, err := p.track.walk(r, func(d descriptor) { c.add(d, rules) })
	if err != nil {
		return p.fail("inflight region", uint64(r.entry), err)
	}
	c.entry, c.slots = r.entry, r.slots
	return c.finish(id)
}

// The four steps of publishing; see split.

func (p *packed) prepare(done []usedElem) error {
	if err := p.track.link(done, p.used.after(slotsOf(done), int(p.size))); err != nil {
		return p.fail("inflight region", uint64(p.used.idx), err)
	}
	return nil
}

// fill writes the used descriptors, all but the flags of the first: the guest reads the ring
// in order and sees none of them before that one.
func (p *packed) fill(done []usedElem) {
	at := p.used
	for i, u := range done {
		off := int(at.idx) * descLen
		put32(p.desc, off+packedLenOff, u.len)
		if i > 0 {
			put32(p.desc, off+packedIDOff, uint32(u.id)|uint32(at.usedFlags(u.len))<<16)
		}
		p.descLog.mark(off, descLen)
		at = at.after(int(u.slots), int(p.size))
	}
}

func (p *packed) commit(done []usedElem) {
	first := done[0]
	off := int(p.used.idx) * descLen
	store32(p.desc, off+packedIDOff, uint32(first.id)|uint32(p.used.usedFlags(first.len))<<16)
	p.descLog.mark(off, descLen)
	n := slotsOf(done)
	p.used = p.used.after(n, int(p.size))
	p.held -= n
}

func (p *packed) settle(done []usedElem) { p.track.settle(done) }

func slotsOf(done []usedElem) int {
	n := 0
	for _, u := range done {
		n += int(u.slots)
	}
	return n
}

// wantsCall reports whether the guest asks to be told of what was just published. With
// RING_EVENT_FLAGS_DESC it does when the place it names is in there. The load comes after the
// store of the used flags; see split.
func (p *packed) wantsCall(done []usedElem) bool {
	word := load32(p.driver, 0)
	event := spot{uint16(word) & eventIdxMask, uint16(word)&eventWrap != 0}
	switch flags := uint16(word>>16) & eventFlagsMask; {
	case flags == eventDisable:
		return false
	case flags != eventDesc || !p.eventIdx || uint32(event.idx) >= p.size:
		return true
	}
	back := event.to(p.used, int(p.size)) // how far behind us: 1 is the last place published
	return back >= 1 && back <= slotsOf(done)
}

// arm asks for a kick with the next chain and reports whether one came before the question.
func (p *packed) arm() bool {
	if p.eventIdx {
		p.storeEvents(p.avail.bits() | uint32(eventDesc)<<16)
	} else {
		p.storeEvents(uint32(eventEnable) << 16)
	}
	return p.avail.available(p.flagsAt(p.avail.idx))
}

func (p *packed) disarm() { p.storeEvents(uint32(eventDisable) << 16) }

func (p *packed) storeEvents(word uint32) {
	if p.wrote && p.events == word {
		return
	}
	p.events, p.wrote = word, true
	store32(p.device, 0, word)
	p.log.mark(0, eventAreaLen)
}

func (p *packed) position() uint32 { return p.avail.bits() | p.used.bits()<<16 }
