package vhostuser

// ringConfig is what the front end said about a ring.
type ringConfig struct {
	index                         int
	size                          uint32
	descUser, availUser, usedUser uint64 // SET_VRING_ADDR, the front end's virtual addresses
	packed, eventIdx, indirect    bool
	base                          uint32 // SET_VRING_BASE
	logUsed                       bool   // VHOST_VRING_F_LOG
	logGuestAddr                  uint64
}

// layout is a split or a packed ring. The steps of publishing are called in the order in which
// they stand here.
type layout interface {
	place(t *memTable) error // finds the ring in memory; again after each change of the table
	setLog(l writeLog)
	start() ([]resubmission, error) // once, after place
	position() uint32               // for GET_VRING_BASE
	content() uint32                // sums the ring's memory, as RingDigest says; 0: nothing can be said
	fresh() bool                    // nothing was ever taken from it

	available() bool // whether there is a chain to take
	take(c *Chain) (bool, error)
	retake(c *Chain, r resubmission) error

	prepare(done []usedElem) error  // notes in the inflight region what is about to happen
	fill(done []usedElem)           // writes used elements that nobody looks at yet
	commit(done []usedElem)         // makes them visible, all at once
	settle(done []usedElem)         // clears the inflight entries
	wantsCall(done []usedElem) bool // whether the guest asked for a notification

	arm() bool
	disarm()
}

// usedElem is a completed chain.
type usedElem struct {
	id    uint16 // Chain.Head
	slots uint16
	entry uint16
	len   uint32
}

// resubmission is a chain that a backend took before it died.
type resubmission struct {
	id    uint16 // head, of a split ring
	entry uint16 // in a packed inflight region
	slots uint16
	order uint64 // the region's counter
}

// writeLog marks our writes to a part of a ring in the dirty log, if there is one.
type writeLog struct {
	log  *dirtyLog
	addr uint64 // guest address of the part's first byte
}

// mark is called after n bytes at off were written. An address that overflows is the front
// end's nonsense and lies outside any bitmap.
func (l writeLog) mark(off, n int) {
	if l.log != nil {
		l.log.mark(l.addr+uint64(off), uint64(n))
	}
}

// part finds one part of the ring in memory and its guest address.
func (c ringConfig) part(t *memTable, what string, user, n uint64, align uintptr) ([]byte, uint64, error) {
	b, guestAddr, err := t.user(user, n)
	if err != nil {
		return nil, 0, c.fail(what, user, err)
	}
	if !aligned(b, align) {
		return nil, 0, c.fail(what, user, ErrAlignment)
	}
	return b, guestAddr, nil
}

func (c ringConfig) fail(what string, value uint64, err error) error {
	return &RingError{Queue: c.index, What: what, Value: value, Err: err}
}
