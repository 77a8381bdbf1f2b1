package mirror

import (
	"fmt"
	"sync"
)

// secondary is the receiving side of a session. All but the queues is the applying goroutine's.
type secondary struct {
	queue    *queue
	renewals *latest
	verifies chan frame

	run    ID         // of the synchronisation; zero before it begins
	disks  []incoming // one for each disk
	synced int        // how many disks are at the run's point
	epoch  uint64     // the open one
	sealed bool       // its seal stands

	consumed uint64 // bytes taken, for credit
	credited uint64 // bytes the peer was told of
	room     uint64 // bytes that may be in flight

	mu       sync.Mutex
	complete int64 // the last epoch that is complete
	reported int64
}

// incoming is the account of one disk.
type incoming struct {
	size     int64
	syncing  bool
	synced   bool
	received uint64 // bytes of the synchronisation since SYNC BEGIN
	unsafe   uint64 // of these, since the last flush
	count    Count  // of the open epoch
}

func newSecondary(own Hello) *secondary {
	sec := &secondary{
		queue: newQueue(own.Window), renewals: newLatest(), verifies: make(chan frame, maxVerifies),
		room: uint64(own.Window), complete: Base, reported: Base,
	}
	for _, d := range own.Disks {
		sec.disks = append(sec.disks, incoming{size: d.Size})
	}
	return sec
}

// apply takes what the primary says, in order.
func (s *Session) apply() error {
	for {
		f, err := s.in.queue.next(s.stop)
		if err != nil {
			return err
		}
		err = s.applyFrame(f)
		f.bulk.free()
		if err != nil {
			return err
		}
		if err := s.giveCredit(f); err != nil {
			return err
		}
	}
}

func (s *Session) applyFrame(f frame) error {
	switch b := f.body.(type) {
	case *data:
		return s.applyData(f, b)
	case *seal:
		return s.applySeal(f, b)
	case *syncData:
		return s.applySyncData(f, b)
	case *SyncPlan:
		b.Disk = int(f.disk)
		return s.applySyncBegin(f, b)
	case *syncEnd:
		return s.applySyncEnd(f, b)
	case *words:
		return s.gaveUp(b)
	case *Cause:
		s.cfg.Event(Shutdown{*b})
		return nil
	case *number:
		return s.applyRingStart(f, uint64(*b))
	}
	invariant(false, "no handler for "+f.kind.String())
	return nil
}

// applyData stages a part of the open epoch.
func (s *Session) applyData(f frame, b *data) error {
	d := &s.in.disks[f.disk]
	switch {
	case s.in.synced != len(s.in.disks):
		return &FrameError{f.kind, "before synchronisation of disk", uint64(f.disk), ErrSequence}
	case s.in.sealed || b.epoch != s.in.epoch:
		return &FrameError{f.kind, "epoch", b.epoch, ErrSequence}
	case !inside(b.extents, d.size):
		return f.bad("outside of disk", uint64(f.disk))
	}
	list, err := pieces(f, b.extents)
	if err != nil {
		return err
	}
	if err := s.cfg.Sink.Write(int(f.disk), b.epoch, list); err != nil {
		return sinkError(err)
	}
	d.count.add(b.extents)
	return nil
}

// applySeal compares what the primary says it sent with what is here.
func (s *Session) applySeal(f frame, b *seal) error {
	switch {
	case s.in.synced != len(s.in.disks):
		return &FrameError{f.kind, "before synchronisation; epoch", b.epoch, ErrSequence}
	case s.in.sealed || b.epoch != s.in.epoch:
		return &FrameError{f.kind, "epoch", b.epoch, ErrSequence}
	case len(b.counts) != len(s.in.disks):
		return f.bad("disks", uint64(len(b.counts)))
	}
	s.cfg.Event(Sealed{b.epoch, b.digest})
	for i, c := range b.counts {
		if d := &s.in.disks[i]; c != d.count {
			return fmt.Errorf("%w: epoch %d of disk %d: sent %+v, received %+v", ErrIncomplete,
				b.epoch, i, c, d.count)
		}
		s.in.disks[i].count = Count{}
	}
	if err := s.cfg.Sink.Seal(b.epoch); err != nil {
		return sinkError(err)
	}
	s.in.sealed = true
	s.in.mu.Lock()
	s.in.complete = int64(b.epoch)
	s.in.mu.Unlock()
	s.cfg.Event(Complete{b.epoch})
	n := number(b.epoch)
	return s.say(kindAck, 0, &n)
}

func (s *Session) applyRingStart(f frame, epoch uint64) error {
	if !s.in.sealed || epoch != s.in.epoch {
		return &FrameError{f.kind, "epoch", epoch, ErrSequence}
	}
	s.in.sealed, s.in.epoch = false, epoch+1
	s.cfg.Event(RingStarted{epoch})
	return nil
}

// giveCredit tells the primary what was taken: at once when nothing else waits, so that it knows how
// far behind this side is, otherwise in steps.
func (s *Session) giveCredit(f frame) error {
	if !rows[f.kind].bulk {
		return nil
	}
	s.in.consumed += uint64(f.size())
	s.in.queue.took(f.size())
	if s.in.consumed-s.in.credited < s.in.room/8 && !s.in.queue.empty() {
		return nil
	}
	s.in.credited = s.in.consumed
	n := number(s.in.credited)
	return s.say(kindCredit, 0, &n)
}

// Report tells the primary that the disks show an epoch, and which one is durable (Base: none yet).
func (s *Session) Report(epoch uint64, durable int64) error {
	s.in.mu.Lock()
	ok := int64(epoch) <= s.in.complete && int64(epoch) >= s.in.reported && durable <= int64(epoch)
	if ok {
		s.in.reported = int64(epoch)
	}
	s.in.mu.Unlock()
	if !ok {
		return fmt.Errorf("report of epoch %d, which is not complete or older than the last", epoch)
	}
	return s.conn.write(kindReport, 0, &report{epoch, durable})
}

// answerRenewals promises, as long as no takeover has begun.
func (s *Session) answerRenewals() error {
	for {
		r, ok := s.in.renewals.take(s.stop)
		if !ok {
			return nil
		}
		if !s.cfg.Promise.Extend(r.span) {
			continue
		}
		n := number(r.seq)
		if err := s.say(kindRenewed, 0, &n); err != nil {
			return err
		}
	}
}

func sinkError(err error) error { return fmt.Errorf("%w: %w", ErrSink, err) }
