package checkpoint

import "time"

// apply redoes one record. It is how replay brings a snapshot up to date; live operations call
// the same methods of state once their record is in the journal.
func (s *state) apply(h recordHeader, payload []byte) error {
	if h.seq != s.seq+1 {
		return recordError("sequence", h.seq, s.seq+1)
	}
	s.seq = h.seq
	loose := s.loose
	if h.kind != recordStage {
		s.loose = nil
	}
	switch h.kind {
	case recordStage:
		return s.applyStage(payload)
	case recordLoad:
		return s.applyLoad(payload, loose)
	case recordWrite:
		return s.applyWrite(payload)
	case recordStart:
		return s.applyStart(payload)
	case recordRetire, recordDelete:
		id, err := decodeWord(payload, maxEpoch)
		if err != nil {
			return err
		}
		p, err := s.point(epoch(id))
		if err != nil {
			return err
		}
		if h.kind == recordRetire {
			s.retire(p)
			return nil
		}
		s.remove(p)
		return nil
	case recordSweep:
		return s.applySweep(payload)
	case recordRollback:
		return s.applyRollback(payload)
	case recordResize:
		size, err := decodeWord(payload, maxDisk)
		if err != nil {
			return err
		}
		return s.applyResize(int64(size))
	}
	return recordError("kind of a record", h.kind, "one that changes the state")
}

func (s *state) applyWrite(payload []byte) error {
	var err error
	s.places, s.crcs, err = decodeWrite(payload, s.places[:0], s.crcs[:0])
	if err != nil {
		return err
	}
	if (len(s.crcs) > 0) != (s.sums != nil) && anyPlaced(s.places) {
		return recordError("checksums of a write record", len(s.crcs), "as the volume was made")
	}
	if s.defers {
		return s.note(s.places, s.crcs)
	}
	for _, p := range s.places {
		if err := s.ensurePlace(p); err != nil {
			return err
		}
	}
	s.write(s.places, s.crcs)
	return nil
}

func anyPlaced(places []placement) bool {
	for _, p := range places {
		if p.slot != slotZero {
			return true
		}
	}
	return false
}

func (s *state) applyStart(payload []byte) error {
	r, err := decodeStart(payload)
	if err != nil {
		return err
	}
	if r.id != s.epoch {
		return recordError("point of a start record", r.id, s.epoch)
	}
	s.start(r.point())
	return nil
}

// point returns the point that a start record describes.
func (r *startRecord) point() *point {
	p := &point{name: r.name, time: time.Unix(0, r.time)}
	p.setFlags(r.flags)
	return p
}

func (s *state) applySweep(payload []byte) error {
	r, err := decodeSweep(payload)
	if err != nil {
		return err
	}
	if s.unordered {
		s.skipped = true
		return nil
	}
	owner, run := s.findRun(r.run)
	if run == nil || run.blocks != r.count {
		return recordError("run of a sweep record", r.run, "a run of as many blocks that waits to be swept")
	}
	w, err := s.load(run)
	if err != nil {
		return err
	}
	if err := s.ensureSweep(w); err != nil {
		return err
	}
	s.sweep(owner, run, w)
	return nil
}

func (s *state) applyRollback(payload []byte) error {
	r, err := decodeRollback(payload)
	if err != nil {
		return err
	}
	p, err := s.point(r.to)
	if err != nil {
		return err
	}
	if r.left != s.epoch {
		return recordError("point left by a rollback", r.left, s.epoch)
	}
	if err := s.catchUp(); err != nil {
		return err
	}
	records, err := holding(p.id, s.behind(p), s.pages)
	if err != nil {
		return err
	}
	if err := s.orSweep(func() error { return s.ensureRollback(p, records) }); err != nil {
		return err
	}
	s.rollback(p, records, &point{time: time.Unix(0, r.time)})
	return nil
}

func (s *state) applyResize(size int64) error {
	if err := s.ensureResize(size); err != nil {
		return err
	}
	s.resize(size)
	return nil
}
