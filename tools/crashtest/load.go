package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

const (
	depth       = 32  // requests in flight on each queue
	maxSectors  = 192 // of one request: 96 KiB
	waitLimit   = 20 * time.Second
	waitSlice   = 20 * time.Millisecond // how soon a load notices that its backend was killed
	maxAttempts = 16                    // to find a range that is idle
)

// span is the range of sectors that a request concerns.
type span struct {
	first, n int
	v        version
}

// load drives one queue. One goroutine uses it.
type load struct {
	disk   *vhosttest.Disk
	ledger *ledger
	rand   *rand.Rand
	spans  map[*vhosttest.Req]span
	done   []*vhosttest.Req // reused
	count  int              // requests completed
}

func newLoad(d *vhosttest.Driver, l *ledger, r *rand.Rand) (*load, error) {
	disk, err := vhosttest.NewDisk(d, depth, maxSectors*sectorSize)
	if err != nil {
		return nil, err
	}
	return &load{disk: disk, ledger: l, rand: r, spans: map[*vhosttest.Req]span{}}, nil
}

// run keeps the queue busy until stop is closed, which happens after a kill: then the
// requests outstanding stay in the ring.
func (l *load) run(stop <-chan struct{}, progress func(n int)) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := l.submit(); err != nil {
			return err
		}
		n, err := l.reap(waitSlice)
		if err != nil && !errors.Is(err, vhosttest.ErrTimeout) {
			return err
		}
		progress(n)
	}
}

// drain waits until everything that is outstanding is completed.
func (l *load) drain() error {
	for l.disk.InFlight() > 0 {
		if _, err := l.reap(waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// submit fills the ring with random requests.
func (l *load) submit() error {
	for r := l.disk.Get(); r != nil; r = l.disk.Get() {
		if !l.prepare(r) {
			l.disk.Put(r)
			break
		}
		if err := l.disk.Submit(r); err != nil {
			return err
		}
	}
	l.disk.Kick()
	return nil
}

// prepare makes a request of a random kind; false if no idle range was found for it.
func (l *load) prepare(r *vhosttest.Req) bool {
	kind := l.rand.IntN(100)
	if kind < 3 {
		r.Op, r.Sector, r.Len = vhosttest.OpFlush, 0, 0
		l.spans[r] = span{}
		return true
	}
	s, ok := l.idle()
	if !ok {
		return false
	}
	switch {
	case kind < 70:
		s.v = l.ledger.begin(s.first, s.n, false)
		l.data(r, vhosttest.OpWrite, s)
		l.ledger.fill(r.Data()[:r.Len], s.first, s.v)
	case kind < 78:
		l.ranged(r, vhosttest.OpWriteZeroes, s, uint32(kind&1))
		l.ledger.begin(s.first, s.n, true)
	case kind < 82:
		l.ranged(r, vhosttest.OpDiscard, s, 0)
		l.ledger.begin(s.first, s.n, true)
	default:
		l.data(r, vhosttest.OpRead, s)
	}
	l.spans[r] = s
	return true
}

// idle reserves a range. Half of them are whole blocks, as most guests ask for; the others
// begin and end at any sector.
func (l *load) idle() (span, bool) {
	const block = 4096 / sectorSize
	for range maxAttempts {
		s := span{n: 1 + l.rand.IntN(maxSectors)}
		if l.rand.IntN(4) != 0 {
			s.n = 1 + l.rand.IntN(2*block)
		}
		s.first = l.rand.IntN(len(l.ledger.sectors) - maxSectors)
		if l.rand.IntN(2) == 0 {
			s.first, s.n = s.first&^(block-1), (s.n+block-1)&^(block-1)
		}
		if l.ledger.reserve(s.first, s.n) {
			return s, true
		}
	}
	return span{}, false
}

func (l *load) data(r *vhosttest.Req, op vhosttest.Op, s span) {
	r.Op, r.Sector, r.Len = op, uint64(s.first), s.n*sectorSize
	if l.rand.IntN(4) == 0 { // not every guest's buffers are aligned
		r.Shift = 1 + l.rand.IntN(vhosttest.MaxShift)
	}
}

// ranged makes a discard or write-zeroes (virtio 1.2, section 5.2.6.1).
func (l *load) ranged(r *vhosttest.Req, op vhosttest.Op, s span, flags uint32) {
	r.Op, r.Sector, r.Len = op, 0, 16
	p := r.Data()
	binary.LittleEndian.PutUint64(p, uint64(s.first))
	binary.LittleEndian.PutUint32(p[8:], uint32(s.n))
	binary.LittleEndian.PutUint32(p[12:], flags)
}

// reap takes what was completed into the ledger.
func (l *load) reap(limit time.Duration) (int, error) {
	done, err := l.disk.Wait(l.done[:0], limit)
	l.done = done
	for _, r := range done {
		if err := l.finish(r); err != nil {
			return 0, err
		}
	}
	l.count += len(done)
	return len(done), err
}

func (l *load) finish(r *vhosttest.Req) error {
	s := l.spans[r]
	delete(l.spans, r)
	if err := r.Err(); err != nil {
		return fmt.Errorf("queue %d: %w", l.disk.Driver().Index(), err)
	}
	switch r.Op {
	case vhosttest.OpWrite:
		l.ledger.settle(s.first, s.n, s.v)
	case vhosttest.OpWriteZeroes:
		l.ledger.settle(s.first, s.n, 0)
	case vhosttest.OpRead:
		if err := l.ledger.check(s.first, r.Data()[:r.Len]); err != nil {
			return fmt.Errorf("queue %d: read during load: %w", l.disk.Driver().Index(), err)
		}
	}
	l.ledger.release(s.first, s.n)
	l.disk.Put(r)
	return nil
}
