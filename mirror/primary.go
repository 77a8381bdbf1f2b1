package mirror

import (
	"fmt"
	"sync"
	"time"
)

// primary is the sending side of a session.
type primary struct {
	window *window

	mu      sync.Mutex
	epoch   uint64 // the open one
	sealed  bool   // its seal was sent, and no ring start announced since
	acked   bool
	current int64                 // the last that was reported
	asked   map[uint64]asked      // renewals without an answer
	lastAsk uint64                // their last number
	syncs   chan any              // answers to the synchronisation that goes on
	checks  map[uint32]chan *sums // verifications without an answer
	lastID  uint32
}

// asked is a renewal under way.
type asked struct{ sent, span time.Duration }

// maxAsked bounds the renewals without an answer: who does not answer any is dead, or soon silent.
const maxAsked = 64

func newPrimary(window int) *primary {
	return &primary{
		window: newWindow(window), current: Base,
		asked: map[uint64]asked{}, checks: map[uint32]chan *sums{},
	}
}

// heard takes what a secondary says.
func (s *Session) heard(f frame) error {
	switch b := f.body.(type) {
	case *words:
		return s.gaveUp(b)
	case *report:
		return s.heardReport(f, b)
	case *sums:
		return s.heardSums(f, b)
	case *syncHave:
		return s.heardSync(f, b)
	case *syncDone:
		return s.heardSync(f, b)
	case *number:
		switch f.kind {
		case kindCredit:
			return s.out.window.credit(uint64(*b))
		case kindAck:
			return s.heardAck(f, uint64(*b))
		case kindRenewed:
			return s.heardRenewed(f, uint64(*b))
		}
	}
	invariant(false, "no handler for "+f.kind.String())
	return nil
}

func (s *Session) heardAck(f frame, epoch uint64) error {
	s.out.mu.Lock()
	ok := s.out.sealed && !s.out.acked && epoch == s.out.epoch
	if ok {
		s.out.acked = true
	}
	s.out.mu.Unlock()
	if !ok {
		return &FrameError{f.kind, "epoch", epoch, ErrSequence}
	}
	s.cfg.Event(Acked{epoch})
	return nil
}

func (s *Session) heardReport(f frame, r *report) error {
	s.out.mu.Lock()
	known := int64(r.epoch) < int64(s.out.epoch) || s.out.acked && r.epoch == s.out.epoch
	ok := known && int64(r.epoch) >= s.out.current
	if ok {
		s.out.current = int64(r.epoch)
	}
	s.out.mu.Unlock()
	if !ok {
		return &FrameError{f.kind, "epoch", r.epoch, ErrSequence}
	}
	s.cfg.Event(Reported{r.epoch, r.durable})
	return nil
}

func (s *Session) heardRenewed(f frame, seq uint64) error {
	s.out.mu.Lock()
	a, ok := s.out.asked[seq]
	for old := range s.out.asked { // answers come in order, and a late one may stand for several
		if old <= seq {
			delete(s.out.asked, old)
		}
	}
	s.out.mu.Unlock()
	if !ok {
		return &FrameError{f.kind, "number", seq, ErrSequence}
	}
	s.cfg.Lease.Renewed(a.sent, a.span)
	s.cfg.Event(Renewed{})
	return nil
}

// Renew asks the secondary to promise not to take over for d, at most a minute. When the answer
// comes, Config.Lease is extended by d from now, and there is a Renewed.
func (s *Session) Renew(d time.Duration) error {
	if d <= 0 || d > maxPromise {
		return fmt.Errorf("a promise for %v: want at most %v", d, maxPromise)
	}
	s.out.mu.Lock()
	if len(s.out.asked) >= maxAsked {
		s.out.mu.Unlock()
		return ErrSlow
	}
	s.out.lastAsk++
	seq := s.out.lastAsk
	s.out.asked[seq] = asked{s.cfg.Lease.Now(), d}
	s.out.mu.Unlock()
	return s.conn.write(kindRenew, 0, &renew{seq, d})
}

// ringStart is Stream.RingStart, without the pumps.
func (s *Session) ringStart(epoch uint64) error {
	s.out.mu.Lock()
	switch {
	case !s.out.sealed && epoch+1 == s.out.epoch:
		s.out.mu.Unlock()
		return nil
	case !s.out.sealed || epoch != s.out.epoch:
		s.out.mu.Unlock()
		return fmt.Errorf("ring start of epoch %d, which is not sealed", epoch)
	}
	s.out.mu.Unlock()
	n := number(epoch)
	if err := s.conn.write(kindRingStart, 0, &n); err != nil {
		return err
	}
	s.out.mu.Lock()
	s.out.sealed, s.out.acked, s.out.epoch = false, false, epoch+1
	s.out.mu.Unlock()
	return nil
}

// Shutdown tells the secondary that the machine ends for good. GiveUp is to follow.
func (s *Session) Shutdown(cause Cause) error { return s.conn.write(kindShutdown, 0, &cause) }

// Stats is what was sent, and what of it is in flight.
func (s *Session) Stats() Stats { return s.out.window.stats() }
