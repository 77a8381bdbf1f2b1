package vhosttest

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// split is the driver's end of a split ring (virtio 1.2, section 2.7).
type split struct {
	d        *Driver
	free     []uint16   // unused descriptors
	chains   [][]uint16 // by head: the descriptors of its chain, empty if not in flight
	avail    uint16     // next available index
	used     uint16     // next used index to look at
	notified uint16     // available index at the last kick
	quiet    bool
}

const (
	noNotify    = uint32(1) // used flags: the device wants no kicks
	noInterrupt = uint32(1) // avail flags: the driver wants no interrupts
)

func newSplit(d *Driver) *split {
	s := &split{d: d}
	s.reset()
	return s
}

func (s *split) reset() uint32 {
	*s = split{d: s.d, chains: make([][]uint16, s.d.size)}
	for i := s.d.size - 1; i >= 0; i-- {
		s.free = append(s.free, uint16(i))
	}
	n := uint64(s.d.size)
	clear(s.d.memory()[s.d.driver : s.d.driver+8+2*n])
	clear(s.d.memory()[s.d.device : s.d.device+8+8*n])
	return 0
}

// restore is what QEMU does when it cannot ask: the used index, as the ring has it.
func (s *split) restore() uint32 { return s.usedWord() >> 16 }

func (s *split) usedWord() uint32 { return atomic.LoadUint32(word(s.d.memory(), s.d.device)) }

func (s *split) add(segs []Seg, direct int) (uint16, error) {
	need := direct
	if direct < len(segs) {
		need++
	}
	if need > len(s.free) {
		return 0, ErrRingFull
	}
	cut := len(s.free) - need
	head := s.free[cut]
	chain := append(s.chains[head], s.free[cut:]...)
	s.free = s.free[:cut]
	for i, at := range chain {
		seg, flags, next := Seg{}, uint16(0), uint16(0)
		if i < direct {
			seg = segs[i]
		} else {
			seg, flags = s.d.table(head, segs[direct:], true), descIndirect
		}
		if seg.Write {
			flags |= descWrite
		}
		if i < need-1 {
			flags, next = flags|descNext, chain[i+1]
		}
		putDesc(s.d.memory()[s.d.desc+uint64(at)*descLen:], seg, flags, next)
	}
	s.chains[head] = chain
	s.publish(head)
	return head, nil
}

// publish makes a head available. Flags and index share a 32-bit word, which both are ours.
func (s *split) publish(head uint16) {
	slot := s.d.driver + 4 + 2*uint64(int(s.avail)%s.d.size)
	binary.LittleEndian.PutUint16(s.d.memory()[slot:], head)
	s.avail++
	s.storeAvail()
}

func (s *split) storeAvail() {
	flags := uint32(0)
	if s.quiet && !s.eventIdx() {
		flags = noInterrupt
	}
	atomic.StoreUint32(word(s.d.memory(), s.d.driver), uint32(s.avail)<<16|flags)
}

func (s *split) eventIdx() bool { return s.d.f.Acked()&FeatureEventIdx != 0 }

func (s *split) pending() bool { return uint16(s.usedWord()>>16) != s.used }

func (s *split) poll() (uint16, uint32, bool, error) {
	idx := uint16(s.usedWord() >> 16)
	if idx == s.used {
		return 0, 0, false, nil
	}
	if int(idx-s.used) > s.d.inFlight {
		return 0, 0, false, fmt.Errorf("%w: used index %d after %d with %d in flight",
			ErrBadUsed, idx, s.used, s.d.inFlight)
	}
	at := s.d.device + 4 + 8*uint64(int(s.used)%s.d.size)
	id := binary.LittleEndian.Uint32(s.d.memory()[at:])
	written := binary.LittleEndian.Uint32(s.d.memory()[at+4:])
	if int64(id) >= int64(s.d.size) || len(s.chains[id]) == 0 {
		return 0, 0, false, fmt.Errorf("%w: id %d is not in flight", ErrBadUsed, id)
	}
	s.free = append(s.free, s.chains[id]...)
	s.chains[id] = s.chains[id][:0]
	s.used++
	return uint16(id), written, true, nil
}

func (s *split) needKick() bool {
	if !s.eventIdx() {
		return s.usedWord()&noNotify == 0
	}
	at := s.d.device + 4 + 8*uint64(s.d.size)
	event := uint16(atomic.LoadUint32(word(s.d.memory(), at)))
	return needEvent(event, s.avail, s.notified)
}

func (s *split) kicked() { s.notified = s.avail }

// armCall asks for an interrupt with the next used element. The used event is the last
// 16 bits of the driver part, which ends with two spare bytes.
func (s *split) armCall() {
	s.quiet = false
	s.storeAvail()
	if s.eventIdx() {
		s.setUsedEvent(s.used)
	}
}

func (s *split) suppressCall(off bool) {
	s.quiet = off
	s.storeAvail()
	if off && s.eventIdx() {
		s.setUsedEvent(s.used - 1)
	}
	if !off {
		s.armCall()
	}
}

func (s *split) setUsedEvent(v uint16) {
	off := s.d.driver + 4 + 2*uint64(s.d.size)
	if off%4 != 0 { // a ring of one: the event shares its word with the only slot
		w := word(s.d.memory(), off-2)
		atomic.StoreUint32(w, atomic.LoadUint32(w)&0xffff|uint32(v)<<16)
		return
	}
	atomic.StoreUint32(word(s.d.memory(), off), uint32(v))
}

// needEvent is vring_need_event of virtio 1.2, section 2.7.10.1.
func needEvent(event, idx, old uint16) bool { return idx-event-1 < idx-old }
