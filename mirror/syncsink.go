package mirror

// applySyncBegin begins the synchronisation of a disk, on the secondary.
func (s *Session) applySyncBegin(f frame, plan *SyncPlan) error {
	d := &s.in.disks[f.disk]
	switch {
	case d.synced || d.syncing || !s.in.run.IsZero() && s.in.run != plan.Run:
		return &FrameError{f.kind, "once more; disk", uint64(f.disk), ErrSequence}
	case plan.Size != d.size:
		return f.bad("size", uint64(plan.Size))
	}
	s.in.run, d.syncing = plan.Run, true
	s.emit(SyncBegun{*plan})
	have, err := s.cfg.Sink.SyncBegin(*plan)
	if err != nil {
		return sinkError(err)
	}
	return s.say(kindSyncHave, int(f.disk), &syncHave{plan.Run, have[:min(len(have), maxRanges)]})
}

func (s *Session) applySyncData(f frame, b *syncData) error {
	d := &s.in.disks[f.disk]
	switch {
	case !d.syncing || b.run != s.in.run:
		return &FrameError{f.kind, "of no synchronisation; disk", uint64(f.disk), ErrSequence}
	case !inside(b.extents, d.size):
		return f.bad("outside of disk", uint64(f.disk))
	}
	list, err := s.pieces(f, b.extents)
	if err != nil {
		return err
	}
	if err := s.cfg.Sink.SyncWrite(int(f.disk), list); err != nil {
		return sinkError(err)
	}
	for _, e := range b.extents {
		d.received += uint64(e.len)
		if !e.zero {
			d.unsafe += uint64(e.len)
		}
	}
	if d.unsafe < flushEvery {
		return nil
	}
	return s.flushSync(int(f.disk), false)
}

// flushSync makes durable what came, and says so.
func (s *Session) flushSync(disk int, last bool) error {
	durable, err := s.cfg.Sink.SyncFlush(disk)
	if err != nil {
		return sinkError(err)
	}
	s.in.disks[disk].unsafe = 0
	return s.say(kindSyncDone, disk, &syncDone{s.in.run, uint64(durable), last})
}

func (s *Session) applySyncEnd(f frame, b *syncEnd) error {
	d := &s.in.disks[f.disk]
	switch {
	case !d.syncing || b.run != s.in.run:
		return &FrameError{f.kind, "of no synchronisation; disk", uint64(f.disk), ErrSequence}
	case b.sent != d.received:
		return &FrameError{f.kind, "bytes", b.sent, ErrIncomplete}
	}
	if err := s.cfg.Sink.SyncEnd(Mark{s.Generation(), Base}, int(f.disk)); err != nil {
		return sinkError(err)
	}
	d.syncing, d.synced = false, true
	s.in.synced++
	s.emit(SyncEnded{s.in.run, int(f.disk)})
	return s.flushSync(int(f.disk), true)
}
