package mirror

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// primary is the sending side of a session.
type primary struct {
	window *window

	mu      sync.Mutex // guards what follows
	epoch   uint64     // the open one
	sealed  bool       // its seal was sent, and no ring start announced since
	acked   bool
	closing bool                  // a seal is asked for and not yet acknowledged
	started int64                 // whose ring start is announced and not acknowledged; Base: none
	current int64                 // the last that was reported
	asked   map[uint64]asked      // renewals without an answer
	lastAsk uint64                // their last number
	syncs   chan any              // answers to the synchronisation that goes on
	checks  map[uint32]chan *sums // verifications without an answer
	lastID  uint32

	ending atomic.Bool // the machine's end was announced
}

// asked is a renewal under way.
type asked struct{ sent, span time.Duration }

// maxAsked bounds the renewals without an answer: who does not answer any is dead, or soon silent.
const maxAsked = 64

func newPrimary(window int) *primary {
	return &primary{
		window: newWindow(window), current: Base, started: Base,
		asked: map[uint64]asked{}, checks: map[uint32]chan *sums{},
	}
}

// heard takes what a secondary says.
func (s *Session) heard(f frame) error {
	switch b := f.body.(type) {
	case *words:
		return s.heardLast(f.kind, b)
	case *report:
		return s.heardReport(f, b)
	case *Range:
		return s.heardDamaged(f, b)
	case *sums:
		return s.heardSums(f, b)
	case *syncHave:
		return s.heardSync(f, b)
	case *syncDone:
		return s.heardSync(f, b)
	case *empty:
		if !s.out.ending.Load() {
			return &FrameError{f.kind, "", 0, ErrSequence}
		}
		s.emit(ShutdownAcked{})
		return nil
	case *number:
		switch f.kind {
		case kindCredit:
			return s.heardCredit(uint64(*b))
		case kindStartAck:
			return s.heardStartAck(f, uint64(*b))
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
		s.out.acked, s.out.closing = true, false
	}
	s.out.mu.Unlock()
	if !ok {
		return &FrameError{f.kind, "epoch", epoch, ErrSequence}
	}
	s.emit(Acked{epoch})
	return nil
}

func (s *Session) heardStartAck(f frame, epoch uint64) error {
	s.out.mu.Lock()
	ok := s.out.started == int64(epoch)
	s.out.started = Base
	s.out.mu.Unlock()
	if !ok {
		return &FrameError{f.kind, "epoch", epoch, ErrSequence}
	}
	s.emit(StartAcked{epoch})
	return nil
}

func (s *Session) heardCredit(total uint64) error {
	if err := s.out.window.credit(total); err != nil {
		return err
	}
	s.out.mu.Lock()
	closing := s.out.closing
	s.out.mu.Unlock()
	if closing {
		s.emit(Progress{})
	}
	return nil
}

// heardDamaged looks where content was damaged that the secondary refused. The session is over.
func (s *Session) heardDamaged(f frame, r *Range) error {
	err := s.out.window.damaged(int(f.disk), r.Off, r.Len)
	if err == nil {
		return fmt.Errorf("%w at the secondary: disk %d, %d bytes from byte %d; they are whole here",
			ErrChecksum, f.disk, r.Len, r.Off)
	}
	return fmt.Errorf("%w: disk %d: %w", ErrSource, f.disk, err)
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
	s.emit(Reported{r.epoch, r.durable})
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
	s.emit(Renewed{a.sent + a.span})
	return nil
}

// AskRenewal asks the secondary to promise not to take over for d, at most a minute. The
// answer is a Renewed.
func (s *Session) AskRenewal(d time.Duration) error {
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
	s.out.asked[seq] = asked{s.cfg.Clock(), d}
	s.out.mu.Unlock()
	return s.conn.write(kindRenew, 0, &renew{seq, d})
}

// ringStart is Stream.RingStart, without the pumps. It says whether there was something to announce.
func (s *Session) ringStart(epoch uint64) (bool, error) {
	s.out.mu.Lock()
	again, sealed := !s.out.sealed && epoch+1 == s.out.epoch, s.out.sealed && epoch == s.out.epoch
	if sealed {
		s.out.started = int64(epoch) // before the answer can come
	}
	s.out.mu.Unlock()
	if !sealed {
		if again {
			return false, nil
		}
		return false, fmt.Errorf("ring start of epoch %d, which is not sealed", epoch)
	}
	n := number(epoch)
	if err := s.conn.write(kindRingStart, 0, &n); err != nil {
		return false, err
	}
	s.out.mu.Lock()
	s.out.sealed, s.out.acked, s.out.epoch = false, false, epoch+1
	s.out.mu.Unlock()
	return true, nil
}

// AnnounceShutdown tells the secondary that the machine ends for good. ShutdownAcked is the answer.
func (s *Session) AnnounceShutdown(cause Cause) error {
	s.out.ending.Store(true)
	return s.conn.write(kindShutdown, 0, &cause)
}

// Stats is what was sent, and what of it is in flight.
func (s *Session) Stats() Stats { return s.out.window.stats() }
