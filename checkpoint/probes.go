package checkpoint

import "github.com/belay-vm/belay/internal/probe"

// Where a store can be watched (docs/TRACING.md). None of its locks is held then: whoever watches
// may take time.

// unsealed is a point that was started and whose content is not known to be durable.
type unsealed struct {
	id      epoch
	upTo    position // of the journal
	started uint64   // ns of CLOCK_MONOTONIC
}

// awaitSeal notes a point that was started just now. The store's mutex is held.
func (s *Store) awaitSeal(p *point) {
	if !p.temp {
		s.flush.unsealed = append(s.flush.unsealed, unsealed{p.id, s.journal.tail(), probe.Now()})
	}
}

// takeSealed returns the points that have become durable. The store's mutex is held.
func (s *Store) takeSealed() (sealed []unsealed) {
	for len(s.flush.unsealed) > 0 && s.flush.unsealed[0].upTo <= s.flush.synced {
		sealed = append(sealed, s.flush.unsealed[0])
		s.flush.unsealed = s.flush.unsealed[1:]
	}
	return sealed
}

// tellRound tells of a flush round and of what it made durable.
func (s *Store) tellRound(r *flushRound, waiters int, sealed []unsealed) {
	v := s.opts.Volume
	probe.FlushRound(v, uint64(r.epoch), r.dataNs, r.journalNs, uint64(waiters))
	for _, u := range sealed {
		probe.CheckpointSealed(v, uint64(u.id), probe.Now()-u.started)
	}
}

// tell tells a point of package probe of something that was done to a checkpoint.
func (s *Store) tell(point func(volume, epoch, ns uint64), id uint32, began uint64, err error) {
	if err == nil {
		point(s.opts.Volume, uint64(id), probe.Now()-began)
	}
}
