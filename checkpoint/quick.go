package checkpoint

import (
	"syscall"
	"time"
)

// A quick flush is one sync of the data area, by the engine of the lane whose guest asks for it. It
// is enough when all that the newest durable proof does not cover has intents. It gives no slots
// back: recovery may still need those that were given up, to verify what an intent says.

// syncs knows who syncs the data area. Of two syncs that meet, the kernel may tell only one that it lost
// a page, and a later one may succeed and mean nothing. So none counts before the outcome of every other is
// known that was under way with it; and a quick flush does not even begin while there is one, but waits and
// takes what waits meanwhile along. The store's mutex guards it.
type syncs struct {
	quick   bool          // a lane has one in its engine
	number  uint64        // of quick ones so far
	rounds  int           // by other goroutines, until they count
	open    int           // of those, whose outcome is not known yet
	late    []flushWaiter // quick flushes that wait
	unsure  position      // of the journal: quick flushes that do not count yet have got so far
	covered position      // a quick flush has made everything before it durable
}

// planFlush answers a flush that has nothing to do, and plans a quick one or has the flusher do a
// round. The store's mutex is held.
func (l *lane) planFlush(w *work) {
	s := l.s
	covered := s.journal.tail() == s.syncs.covered || w.upTo > 0 && w.upTo <= s.syncs.covered
	if err := s.poisoned(); err != nil || s.durable() || covered {
		l.finish(w, err)
		return
	}
	if s.intents.bare > s.flush.synced {
		s.joinFlush(flushWaiter{lane: l, tag: w.tag})
		s.intents.flushed(false)
		return
	}
	w.phase = phaseSync
	switch {
	case l.sync != nil: // planned a moment ago
		l.sync.works = append(l.sync.works, w)
		w.ops++
	case s.syncs.quick || s.syncs.rounds > 0:
		s.syncs.late = append(s.syncs.late, flushWaiter{lane: l, tag: w.tag})
	default:
		o := l.newOp(opSync, w)
		o.fd, o.upTo = s.data.Fd(), s.journal.tail()
		l.sync, s.syncs.quick = o, true
		s.syncs.number++
		s.intents.flushed(true)
	}
}

// synced ends a quick flush: its outcome is that of the operation, if nobody else's is open.
func (l *lane) synced(o *op, res int32) {
	s := l.s
	var err error
	if res < 0 {
		s.journal.distrust()
		err = s.poison(syscall.Errno(-res))
	}
	s.mu.Lock()
	s.syncs.quick = false
	if err == nil {
		err = s.poisoned()
	}
	open := err == nil && s.syncs.open > 0
	switch {
	case open:
		s.syncs.unsure = max(s.syncs.unsure, o.upTo)
		l.doubt(o)
	case err == nil:
		s.syncs.covered = max(s.syncs.covered, o.upTo)
		s.stats.quick.Add(1)
	}
	s.wakeLate(l)
	s.mu.Unlock()
	if !open {
		l.done(o, err)
	}
}

// doubt lets the works of a quick flush wait until it is known what it was worth. The mutex is held.
func (l *lane) doubt(o *op) {
	for _, w := range o.works {
		w.ops--
		w.upTo = o.upTo
		l.handedBack(w)
		l.s.syncs.late = append(l.s.syncs.late, flushWaiter{lane: l, tag: w.tag})
	}
	l.idle = append(l.idle, o)
}

// wakeLate lets quick flushes go on that waited for a sync to end. Those of the lane that calls
// need no mail. The mutex is held.
func (s *Store) wakeLate(caller *lane) {
	if s.syncs.quick || s.syncs.rounds > 0 {
		return
	}
	for _, f := range s.syncs.late {
		if f.lane == caller {
			caller.batch.push(&caller.works[f.tag])
			continue
		}
		f.lane.post(func(m *mail) { m.again = append(m.again, f.tag) })
	}
	s.syncs.late = s.syncs.late[:0]
}

// dataSync syncs the data area. When that fails, pages that the kernel dropped may still look
// fine to the next process: the journal is told not to rely on them.
func (s *Store) dataSync() error {
	s.mu.Lock()
	s.syncs.rounds++
	s.syncs.open++
	before := s.syncs.number
	s.mu.Unlock()
	err := s.data.Sync()
	if err != nil {
		s.journal.distrust()
		err = s.poison(err)
	}
	s.mu.Lock()
	s.syncs.open--
	s.mu.Unlock()
	s.awaitOthers(before)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncs.rounds--
	if err == nil {
		err = s.poisoned()
	}
	if err == nil && s.syncs.open == 0 {
		s.syncs.covered = max(s.syncs.covered, s.syncs.unsure)
	}
	s.wakeLate(nil)
	return err
}

// awaitOthers waits until the outcome of every sync is known that was under way when this one ended, of
// a quick flush's given its number. It hardly ever has to: those began earlier. And it does not wait for
// ever, because an engine that fails reports nothing any more.
func (s *Store) awaitOthers(number uint64) {
	const pause, limit = 100 * time.Microsecond, time.Second
	for end := time.Now().Add(limit); !s.background.manual && time.Now().Before(end); time.Sleep(pause) {
		s.mu.Lock()
		open := s.syncs.quick && s.syncs.number == number || s.syncs.open > 0
		s.mu.Unlock()
		if !open {
			return
		}
	}
}
