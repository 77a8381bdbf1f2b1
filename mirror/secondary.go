package mirror

import (
	"fmt"
	"sync"
)

// secondary is the receiving side of a session. All but the queues is the applying goroutine's.
type secondary struct {
	queue    *queue
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
	renewal  uint64 // the number of a request without an answer; 0: none
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
		queue: newQueue(own.Window), verifies: make(chan frame, maxVerifies),
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
		if s.bye.Load() {
			f.bulk.free()
			continue
		}
		bulk := rows[f.kind].bulk
		if !bulk { // what is said next may be that all came: credit for it goes first
			err = s.giveCredit()
		}
		if err == nil {
			err = s.applyFrame(f)
		}
		f.bulk.free()
		if err == nil && bulk {
			err = s.took(f.size())
		}
		if err != nil {
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
		return s.heardLast(f.kind, b)
	case *Cause:
		s.emit(ShutdownAnnounced{*b})
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
	list, err := s.pieces(f, b.extents)
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
	s.emit(Sealed{b.epoch, b.rings})
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
	s.emit(Complete{b.epoch})
	return nil
}

// Ack tells the primary that all of an epoch is here, after Complete.
func (s *Session) Ack(epoch uint64) error { return s.answer(kindAck, epoch) }

// AckStart tells the primary that the seal of an epoch does not stand any more, after RingsStarting.
func (s *Session) AckStart(epoch uint64) error { return s.answer(kindStartAck, epoch) }

// AckShutdown tells the primary that the machine will not be revived, after ShutdownAnnounced.
func (s *Session) AckShutdown() error { return s.conn.write(kindShutdownAck, 0, &empty{}) }

func (s *Session) answer(kind Kind, n uint64) error {
	m := number(n)
	return s.conn.write(kind, 0, &m)
}

func (s *Session) applyRingStart(f frame, epoch uint64) error {
	if !s.in.sealed || epoch != s.in.epoch {
		return &FrameError{f.kind, "epoch", epoch, ErrSequence}
	}
	s.in.sealed, s.in.epoch = false, epoch+1
	s.emit(RingsStarting{epoch})
	return nil
}

// took accounts for a frame: the primary hears of it at once when nothing else waits, so that it knows
// how far behind this side is, otherwise in steps.
func (s *Session) took(n int) error {
	s.in.consumed += uint64(n)
	s.in.queue.took(n)
	if s.in.consumed-s.in.credited < s.in.room/8 && !s.in.queue.empty() {
		return nil
	}
	return s.giveCredit()
}

// giveCredit tells the primary what was taken.
func (s *Session) giveCredit() error {
	if s.in.credited == s.in.consumed {
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

// askedToRenew remembers the newest request: it stands for the older ones.
func (s *Session) askedToRenew(r *renew) {
	s.in.mu.Lock()
	s.in.renewal = r.seq
	s.in.mu.Unlock()
	s.emit(RenewalAsked{r.span})
}

// Renew promises what the newest RenewalAsked asked for. The caller has begun to count before: it
// counts from later than the primary, so that the primary stops first.
func (s *Session) Renew() error {
	s.in.mu.Lock()
	seq := s.in.renewal
	s.in.renewal = 0
	s.in.mu.Unlock()
	if seq == 0 {
		return nil // an answer stood for this request, too
	}
	return s.answer(kindRenewed, seq)
}

func sinkError(err error) error { return fmt.Errorf("%w: %w", ErrSink, err) }
