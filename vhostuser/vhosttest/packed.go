package vhosttest

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// packed is the driver's end of a packed ring (virtio 1.2, section 2.8).
type packed struct {
	d     *Driver
	ids   []uint16 // unused buffer ids
	count []int    // by id: descriptors its chain takes, 0 if not in flight
	room  int      // unused descriptors

	next     int // next descriptor to make available, and its wrap counter
	nextWrap bool
	used     int // next descriptor to look for a used element, and its wrap counter
	usedWrap bool
	added    int // descriptors since the last kick
}

const (
	packedAvail = uint16(1) << 7
	packedUsed  = uint16(1) << 15

	eventEnable  = 0
	eventDisable = 1
	eventDesc    = 2
)

// freshBase is the base of a packed ring that never ran: index 0 with wrap counter 1, twice.
const freshBase = uint32(0x8000_8000)

func newPacked(d *Driver) *packed {
	p := &packed{d: d}
	p.reset()
	return p
}

func (p *packed) reset() uint32 {
	*p = packed{d: p.d, count: make([]int, p.d.size), room: p.d.size, nextWrap: true, usedWrap: true}
	for i := p.d.size - 1; i >= 0; i-- {
		p.ids = append(p.ids, uint16(i))
	}
	clear(p.d.memory()[p.d.desc : p.d.desc+descLen*uint64(p.d.size)])
	clear(p.d.memory()[p.d.driver : p.d.driver+4])
	clear(p.d.memory()[p.d.device : p.d.device+4])
	return freshBase
}

// restore gives the stale base of the last start: QEMU cannot restore packed rings.
func (p *packed) restore() uint32 { return p.d.base }

func (p *packed) add(segs []Seg, direct int) (uint16, error) {
	if direct < len(segs) && direct > 0 {
		return 0, fmt.Errorf("vhosttest: packed rings have no mixed chains")
	}
	need := max(direct, 1)
	if need > p.room || len(p.ids) == 0 {
		return 0, ErrRingFull
	}
	id := p.ids[len(p.ids)-1]
	p.ids = p.ids[:len(p.ids)-1]
	extra := uint16(0)
	if direct == 0 {
		segs, extra = []Seg{p.d.table(id, segs, false)}, descIndirect
	}
	p.write(id, segs, extra)
	p.count[id] = need
	p.room -= need
	p.added += need
	return id, nil
}

// write puts the descriptors into the ring, the flags of the first one last: with them the
// device sees the whole chain.
func (p *packed) write(id uint16, segs []Seg, extra uint16) {
	first, firstWord := p.next, uint32(0)
	for i, s := range segs {
		flags := extra
		if s.Write {
			flags |= descWrite
		}
		if i < len(segs)-1 {
			flags |= descNext
		}
		if p.nextWrap {
			flags |= packedAvail
		} else {
			flags |= packedUsed
		}
		at := p.d.desc + descLen*uint64(p.next)
		binary.LittleEndian.PutUint64(p.d.memory()[at:], s.GPA)
		binary.LittleEndian.PutUint32(p.d.memory()[at+8:], s.Len)
		w := uint32(id) | uint32(flags)<<16
		if i == 0 {
			firstWord = w
		} else {
			atomic.StoreUint32(p.word(p.next), w)
		}
		p.next, p.nextWrap = p.advance(p.next, p.nextWrap, 1)
	}
	atomic.StoreUint32(p.word(first), firstWord)
}

// word is the id and flags of a descriptor.
func (p *packed) word(i int) *uint32 {
	return word(p.d.memory(), p.d.desc+descLen*uint64(i)+12)
}

func (p *packed) advance(i int, wrap bool, n int) (int, bool) {
	i += n
	if i >= p.d.size {
		return i - p.d.size, !wrap
	}
	return i, wrap
}

func (p *packed) pending() bool {
	flags := uint16(atomic.LoadUint32(p.word(p.used)) >> 16)
	avail, used := flags&packedAvail != 0, flags&packedUsed != 0
	return avail == used && used == p.usedWrap
}

func (p *packed) poll() (uint16, uint32, bool, error) {
	if !p.pending() {
		return 0, 0, false, nil
	}
	id := uint16(atomic.LoadUint32(p.word(p.used)))
	at := p.d.desc + descLen*uint64(p.used) + 8
	written := binary.LittleEndian.Uint32(p.d.memory()[at:])
	if int(id) >= p.d.size || p.count[id] == 0 {
		return 0, 0, false, fmt.Errorf("%w: id %d is not in flight", ErrBadUsed, id)
	}
	n := p.count[id]
	p.count[id] = 0
	p.room += n
	p.ids = append(p.ids, id)
	p.used, p.usedWrap = p.advance(p.used, p.usedWrap, n)
	return id, written, true, nil
}

func (p *packed) eventIdx() bool { return p.d.f.Acked()&FeatureEventIdx != 0 }

// needKick judges the device part: enabled, disabled, or wanted at one descriptor.
func (p *packed) needKick() bool {
	w := atomic.LoadUint32(word(p.d.memory(), p.d.device))
	offWrap, flags := uint16(w), w>>16&3
	if flags != eventDesc {
		return flags == eventEnable
	}
	event := offWrap & 0x7fff
	if (offWrap>>15 != 0) != p.nextWrap {
		event -= uint16(p.d.size)
	}
	return needEvent(event, uint16(p.next), uint16(p.next-p.added))
}

func (p *packed) kicked() { p.added = 0 }

func (p *packed) armCall() {
	if !p.eventIdx() {
		p.setEvent(0, eventEnable)
		return
	}
	off := uint16(p.used)
	if p.usedWrap {
		off |= 1 << 15
	}
	p.setEvent(off, eventDesc)
}

func (p *packed) suppressCall(off bool) {
	if off {
		p.setEvent(0, eventDisable)
		return
	}
	p.armCall()
}

func (p *packed) setEvent(off uint16, flags uint32) {
	atomic.StoreUint32(word(p.d.memory(), p.d.driver), uint32(off)|flags<<16)
}
