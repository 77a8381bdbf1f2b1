package vhostuser

import "hash/crc32"

// Split ring (virtio 1.2, section 2.7). The avail ring is {flags, idx, ring[size],
// used_event}, the used ring {flags, idx, {id u32, len u32}[size], avail_event}.
const (
	availIdxOff  = 2
	availRingOff = 4
	usedRingOff  = 4
	usedElemLen  = 8

	availNoInterrupt = uint16(1) // VIRTQ_AVAIL_F_NO_INTERRUPT
	usedNoNotify     = uint16(1) // VIRTQ_USED_F_NO_NOTIFY
)

// split is a split ring seen from the device.
type split struct {
	ringConfig
	desc, avail, used []byte
	log               writeLog // the used ring's

	lastAvail uint16 // the next chain to take
	availIdx  uint16 // avail.idx when last read
	usedIdx   uint16 // used.idx as we published it
	flags     uint16 // used.flags as we published them
	busy      []bool // heads taken and not yet published
	track     *splitTrack
}

func newSplit(c ringConfig, track *splitTrack) (*split, error) {
	if c.size == 0 || c.size > maxRingSize || c.size&(c.size-1) != 0 {
		return nil, c.fail("ring size", uint64(c.size), ErrRingSize)
	}
	if c.base > 0xffff {
		return nil, c.fail("ring base", uint64(c.base), ErrRingIndex)
	}
	return &split{ringConfig: c, busy: make([]bool, c.size), track: track}, nil
}

// place finds the ring's parts in memory. The avail ring may start between two 32-bit words
// (load16 copes); the others are aligned so that their words are.
func (s *split) place(t *memTable) error {
	n := uint64(s.size)
	desc, _, err := s.part(t, "descriptor table", s.descUser, n*descLen, descLen)
	if err != nil {
		return err
	}
	avail, _, err := s.part(t, "avail ring", s.availUser, uint64(s.usedEventOff())+s.eventLen(), 2)
	if err != nil {
		return err
	}
	used, _, err := s.part(t, "used ring", s.usedUser, uint64(s.availEventOff())+s.eventLen(), 4)
	if err != nil {
		return err
	}
	s.desc, s.avail, s.used = desc, avail, used
	return nil
}

// eventLen is the room for used_event and avail_event, present with EVENT_IDX only.
func (s *split) eventLen() uint64 {
	if s.eventIdx {
		return 2
	}
	return 0
}

func (s *split) usedEventOff() int  { return availRingOff + 2*int(s.size) }
func (s *split) availEventOff() int { return usedRingOff + usedElemLen*int(s.size) }

func (s *split) setLog(l writeLog) { s.log = l }

// start reads where the ring stands and returns the chains to resubmit. The guest's used
// ring is the truth about what was published; what was taken but not published is known from
// the inflight region alone, and the next chain follows these.
func (s *split) start() ([]resubmission, error) {
	word := load32(s.used, 0)
	s.usedIdx = uint16(word >> 16)
	if !s.eventIdx {
		s.flags = uint16(word) & usedNoNotify // as a former backend left it
	}
	again, known, err := s.track.recover(s.usedIdx, int(s.size))
	if err != nil {
		return nil, s.fail("inflight region", uint64(s.usedIdx), err)
	}
	s.lastAvail = uint16(s.base)
	if known {
		// Not the base: a front end that hung up may have read it while we were still draining.
		s.lastAvail = s.usedIdx + uint16(len(again))
	}
	s.availIdx = s.lastAvail
	for _, r := range again {
		s.busy[r.id] = true
	}
	return again, nil
}

func (s *split) available() bool { return s.lastAvail != s.availIdx || s.look() }

// take fills c with the next chain the guest made available.
func (s *split) take(c *Chain) (bool, error) {
	if n := s.availIdx - s.lastAvail; uint32(n) > s.size {
		return false, s.fail("avail.idx", uint64(s.availIdx), ErrRingIndex)
	}
	head := load16(s.avail, availRingOff+2*(int(s.lastAvail)&(int(s.size)-1)))
	if uint32(head) >= s.size {
		return false, s.fail("avail ring entry", uint64(head), ErrRingIndex)
	}
	if s.busy[head] {
		return false, s.fail("avail ring entry", uint64(head), ErrRingTwice)
	}
	s.busy[head] = true
	s.track.take(head)
	s.lastAvail++
	return true, s.walk(c, head)
}

// look reads avail.idx and reports whether there is anything to take. The load orders the
// reads of the ring and the descriptors behind it.
func (s *split) look() bool {
	s.availIdx = load16(s.avail, availIdxOff)
	return s.availIdx != s.lastAvail
}

// retake fills c with a chain that a backend took before it died.
func (s *split) retake(c *Chain, r resubmission) error { return s.walk(c, r.id) }

// walk follows a chain. One of more steps than the ring has descriptors is a loop.
func (s *split) walk(c *Chain, head uint16) error {
	rules := walkRules{indirect: s.indirect}
	i := uint32(head)
	for range s.size {
		d := splitDescriptor(loadPair(s.desc, int(i)*descLen))
		c.add(d, rules)
		if c.bad != nil || d.flags&flagNext == 0 {
			return c.finish(head)
		}
		if i = uint32(d.next); i >= s.size {
			c.fail(uint64(i), ErrChainNext)
			return c.finish(head)
		}
	}
	c.fail(uint64(i), ErrChainLoop)
	return c.finish(head)
}

// The four steps of publishing, in the order that recovery relies on (vhost-user
// specification, "Inflight I/O tracking"): a backend that dies between two of them leaves
// what track.recover can complete.

func (s *split) prepare(done []usedElem) error {
	s.track.link(done)
	return nil
}

// fill writes the used elements, which nobody reads before commit.
func (s *split) fill(done []usedElem) {
	for i, u := range done {
		at := (int(s.usedIdx) + i) & (int(s.size) - 1)
		off := usedRingOff + usedElemLen*at
		put32(s.used, off, uint32(u.id))
		put32(s.used, off+4, u.len)
		s.log.mark(off, usedElemLen)
		s.busy[u.id] = false
	}
}

func (s *split) commit(done []usedElem) {
	s.usedIdx += uint16(len(done))
	s.storeFlags()
}

func (s *split) settle(done []usedElem) { s.track.settle(done, s.usedIdx) }

// storeFlags publishes used.flags and used.idx, which share a word.
func (s *split) storeFlags() {
	store32(s.used, 0, uint32(s.flags)|uint32(s.usedIdx)<<16)
	s.log.mark(0, 4)
}

// wantsCall reports whether the guest asks to be told of what was just published. The load
// comes after the store of used.idx: the guest writes its word before it looks at used.idx a
// last time, so one of the two sees the other.
func (s *split) wantsCall(done []usedElem) bool {
	if !s.eventIdx {
		return load16(s.avail, 0)&availNoInterrupt == 0
	}
	event := load16(s.avail, s.usedEventOff())
	return s.usedIdx-event-1 < uint16(len(done))
}

// arm asks for a kick with the next chain and reports whether one came before the question.
func (s *split) arm() bool {
	if s.eventIdx {
		swapped := swap16(s.used, s.availEventOff(), s.lastAvail)
		s.log.mark(s.availEventOff(), 2)
		return !swapped || s.lastAvail != s.availIdx || s.look()
	}
	if s.flags != 0 {
		s.flags = 0
		s.storeFlags()
	}
	return s.lastAvail != s.availIdx || s.look()
}

// disarm asks for no kicks. With EVENT_IDX there is nothing to write: the guest kicks only
// when it passes avail_event, which stays behind.
func (s *split) disarm() {
	if !s.eventIdx && s.flags == 0 {
		s.flags = usedNoNotify
		s.storeFlags()
	}
}

func (s *split) position() uint32 { return uint32(s.lastAvail) }

// content is what only we write, but for used.flags and avail_event.
func (s *split) content() uint32 {
	return crc32.Checksum(s.used[availIdxOff:s.availEventOff()], digestTable)
}
