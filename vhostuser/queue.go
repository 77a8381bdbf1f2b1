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

// Queue is one started ring as a device sees it. One goroutine, the device's Run, uses it;
// the lower-case methods are the session's.
type Queue struct{ c ringConfig }

// newQueue checks the ring's addresses and recovers what a backend that died left in fl.
// mem, log and fl may be nil and stay the session's.
func newQueue(c ringConfig, mem *memTable, log *dirtyLog, fl *inflight) (*Queue, error) {
	return &Queue{c: c}, nil
}

// close closes the descriptors: after Run returned.
func (q *Queue) close() {}

// setKick takes ownership of fd, -1 for none (polling); only while Run is not running.
func (q *Queue) setKick(fd int) {}

// setCall takes ownership of fd, -1 for none, and writes it once. At any time.
func (q *Queue) setCall(fd int) {}

// setErr takes ownership of fd, -1 for none. At any time.
func (q *Queue) setErr(fd int) {}

// signalError writes the error eventfd.
func (q *Queue) signalError() {}

// requestStop makes StopFD readable and Stopping true; rearmStop undoes it before a new Run.
func (q *Queue) requestStop() {}
func (q *Queue) rearmStop()   {}

// setMemory moves a queue that does not run to another table.
func (q *Queue) setMemory(t *memTable) error { return nil }

// growMemory gives a queue, running or not, a table that keeps the mappings of its own.
func (q *Queue) growMemory(t *memTable) {}

// setLog switches the dirty log of a queue that does not run.
func (q *Queue) setLog(l *dirtyLog, logUsed bool, addr uint64) {}

// base is the GET_VRING_BASE value, valid after Run returned.
func (q *Queue) base() uint32 { return 0 }

// completed is the number of chains published so far. At any time.
func (q *Queue) completed() uint64 { return 0 }

// Index is the ring's number in its device; Size its number of descriptors.
func (q *Queue) Index() int { return q.c.index }
func (q *Queue) Size() int  { return int(q.c.size) }

func (q *Queue) KickFD() int    { return -1 }
func (q *Queue) StopFD() int    { return -1 }
func (q *Queue) Stopping() bool { return false }

func (q *Queue) Next(c *Chain) (bool, error)       { return false, nil }
func (q *Queue) Complete(c *Chain, written uint32) {}
func (q *Queue) Publish() error                    { return nil }
func (q *Queue) Arm() (bool, error)                { return false, nil }
func (q *Queue) Disarm()                           {}
