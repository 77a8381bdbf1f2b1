package vhostuser

// QueueRegionPacked: the header {features u64, version u16, desc_num u16, free_head u16,
// old_free_head u16, used_idx u16, old_used_idx u16, used_wrap_counter u8,
// old_used_wrap_counter u8, padding} and the entries, DescStatePacked {inflight u8, padding
// u8, next u16, last u16, num u16, counter u64, id u16, flags u16, len u32, addr u64}.
const (
	packedHeaderLen   = 32
	packedFreeOff     = 12
	packedOldFreeOff  = 14
	packedUsedOff     = 16
	packedOldUsedOff  = 18
	packedWrapOff     = 20
	packedOldWrapOff  = 21
	packedEntryLen    = 32
	packedNextOff     = 2 // in an entry; inflight is at 0
	packedLastOff     = 4
	packedNumOff      = 6
	packedCounterOff  = 8
	packedEntryIDOff  = 16
	packedEntryFlags  = 18
	packedEntryLenOff = 20
	packedEntryAddr   = 24
)

// packedTrack keeps the inflight piece of a packed ring. It copies every descriptor taken,
// because the guest may use their places in the ring again for others before the chain is
// complete. Entries are taken from a free list; a chain's entries stay linked. A nil track
// keeps nothing.
type packedTrack struct {
	b       []byte
	num     int
	counter uint64
}

func newPackedTrack(b []byte, num int) *packedTrack {
	if b == nil {
		return nil
	}
	return &packedTrack{b: b, num: num}
}

func packedEntry(i uint16) int { return packedHeaderLen + packedEntryLen*int(i) }

// begin opens an entry for the chain c. Until add saw the last descriptor, old_free_head
// still names it, and recovery takes it back.
func (t *packedTrack) begin(c *Chain) error {
	if t == nil {
		return nil
	}
	c.entry = get16(t.b, packedOldFreeOff)
	if int(c.entry) >= t.num {
		return ErrInflight
	}
	e := packedEntry(c.entry)
	put16(t.b, e+packedNumOff, 0)
	put64(t.b, e+packedCounterOff, t.counter)
	t.counter++
	t.b[e] = 1
	return nil
}

// add copies the next descriptor of the chain c.
func (t *packedTrack) add(c *Chain, d descriptor, id uint16, last bool) error {
	if t == nil {
		return nil
	}
	free := get16(t.b, packedFreeOff)
	if int(free) >= t.num {
		return ErrInflight
	}
	head, e := packedEntry(c.entry), packedEntry(free)
	if last {
		put16(t.b, head+packedLastOff, free)
	}
	put16(t.b, head+packedNumOff, get16(t.b, head+packedNumOff)+1)
	t.copyIn(e, d, id)
	free = get16(t.b, e+packedNextOff)
	put16(t.b, packedFreeOff, free)
	if last {
		put16(t.b, packedOldFreeOff, free)
	}
	return nil
}

func (t *packedTrack) copyIn(e int, d descriptor, id uint16) {
	put64(t.b, e+packedEntryAddr, d.addr)
	put32(t.b, e+packedEntryLenOff, d.len)
	put16(t.b, e+packedEntryFlags, d.flags)
	put16(t.b, e+packedEntryIDOff, id)
}

// link frees the entries of a batch and notes where the ring will stand after it. The old
// fields keep the state before, to which recovery returns if the batch was not published.
func (t *packedTrack) link(done []usedElem, used spot) error {
	if t == nil {
		return nil
	}
	for _, u := range done {
		last := get16(t.b, packedEntry(u.entry)+packedLastOff)
		if int(last) >= t.num {
			return ErrInflight
		}
		put16(t.b, packedEntry(last)+packedNextOff, get16(t.b, packedFreeOff))
		put16(t.b, packedFreeOff, u.entry)
	}
	put16(t.b, packedUsedOff, used.idx)
	t.b[packedWrapOff] = byteOf(used.wrap)
	return nil
}

// settle clears the entries of a batch that is published and makes its state the old one.
func (t *packedTrack) settle(done []usedElem) {
	if t == nil {
		return
	}
	for _, u := range done {
		t.b[packedEntry(u.entry)] = 0
	}
	t.keep()
}

// keep makes the current state the one that recovery returns to.
func (t *packedTrack) keep() {
	put16(t.b, packedOldFreeOff, get16(t.b, packedFreeOff))
	put16(t.b, packedOldUsedOff, get16(t.b, packedUsedOff))
	t.b[packedOldWrapOff] = t.b[packedWrapOff]
}

// recover finds the state that a dead backend left: the chains in flight, oldest first, and
// where the next used descriptor goes. For a fresh piece it takes note of where, and returns
// nil.
func (t *packedTrack) recover(
	where spot, size int, flagsAt func(uint16) uint16,
) ([]resubmission, *spot, error) {
	if t == nil {
		return nil, nil, nil
	}
	fresh, err := checkFlight(t.b, t.num)
	if err != nil {
		return nil, nil, err
	}
	if fresh {
		t.format(where)
		return nil, nil, nil
	}
	if err := t.finishBatch(size, flagsAt); err != nil {
		return nil, nil, err
	}
	used := t.oldUsed()
	t.clearFree()
	again, err := t.collect(size)
	return again, &used, err
}

func (t *packedTrack) format(used spot) {
	clear(t.b)
	for i := range t.num { // the last entry's next is no entry: the end of the list
		put16(t.b, packedEntry(uint16(i))+packedNextOff, uint16(i)+1)
	}
	put16(t.b, flightNumOff, uint16(t.num))
	put16(t.b, packedUsedOff, used.idx)
	t.b[packedWrapOff] = byteOf(used.wrap)
	t.keep()
	put16(t.b, flightVersionOff, inflightVersion)
}

func (t *packedTrack) oldUsed() spot {
	return spot{get16(t.b, packedOldUsedOff), t.b[packedOldWrapOff] != 0}
}

// finishBatch decides by the ring whether the last batch was published: it was if its first
// descriptor is not available any more. Then the new state holds, else the old one.
func (t *packedTrack) finishBatch(size int, flagsAt func(uint16) uint16) error {
	old := t.oldUsed()
	used := spot{get16(t.b, packedUsedOff), t.b[packedWrapOff] != 0}
	if int(old.idx) >= size || int(used.idx) >= size {
		return ErrInflight
	}
	if used != old && !old.available(flagsAt(old.idx)) {
		t.keep()
		return nil
	}
	put16(t.b, packedFreeOff, get16(t.b, packedOldFreeOff))
	put16(t.b, packedUsedOff, old.idx)
	t.b[packedWrapOff] = byteOf(old.wrap)
	return nil
}

// clearFree clears the mark of every free entry: of chains published, and of one that was
// not read to its end. The number of steps is bounded, whatever the links are.
func (t *packedTrack) clearFree() {
	seen := make([]bool, t.num)
	for i := get16(t.b, packedFreeOff); int(i) < t.num && !seen[i]; {
		seen[i] = true
		t.b[packedEntry(i)] = 0
		i = get16(t.b, packedEntry(i)+packedNextOff)
	}
}

func (t *packedTrack) collect(size int) ([]resubmission, error) {
	var again []resubmission
	for i := range uint16(t.num) {
		e := packedEntry(i)
		if t.b[e] == 0 {
			continue
		}
		n := get16(t.b, e+packedNumOff)
		if n == 0 || int(n) > size {
			return nil, ErrInflight
		}
		again = append(again, resubmission{entry: i, slots: n, order: get64(t.b, e+packedCounterOff)})
	}
	t.counter = sortByOrder(again)
	return again, nil
}

// walk gives the descriptors of a chain in flight, and its id.
func (t *packedTrack) walk(r resubmission, visit func(descriptor)) (id uint16, err error) {
	i := r.entry
	for range r.slots {
		if int(i) >= t.num {
			return 0, ErrInflight
		}
		e := packedEntry(i)
		id = get16(t.b, e+packedEntryIDOff)
		visit(descriptor{
			addr: get64(t.b, e+packedEntryAddr), len: get32(t.b, e+packedEntryLenOff),
			flags: get16(t.b, e+packedEntryFlags),
		})
		i = get16(t.b, e+packedNextOff)
	}
	return id, nil
}

func byteOf(b bool) byte {
	if b {
		return 1
	}
	return 0
}
