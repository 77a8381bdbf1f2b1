package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// loadHead is the length of a load record's payload before what a start record has.
const loadHead = 24

// loadRecord is the payload of a load record: what was done to the disk since point base is
// dropped, what the stage records from sequence number first on name is live, and the state is a
// new point. Of those records nothing counts without this one.
type loadRecord struct {
	base   epoch
	first  sequence // of the stage records; this record's own if there are none
	blocks uint64   // that they name
	start  startRecord
}

func (r *loadRecord) encodedLen() int { return loadHead + r.start.encodedLen() }

func (r *loadRecord) encode(p []byte) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(r.base))
	le.PutUint32(p[4:], 0)
	le.PutUint64(p[8:], uint64(r.first))
	le.PutUint64(p[16:], r.blocks)
	r.start.encode(p[loadHead:])
}

func decodeLoad(p []byte) (r loadRecord, err error) {
	if len(p) < loadHead || allZero(p[4:8]) >= 0 {
		return r, recordError("length of a load record", len(p), "at least 24, bytes 4 to 7 zero")
	}
	le := binary.LittleEndian
	r = loadRecord{base: epoch(le.Uint32(p)), first: sequence(le.Uint64(p[8:])), blocks: le.Uint64(p[16:])}
	if r.start, err = decodeStart(p[loadHead:]); err != nil {
		return r, err
	}
	if r.base == 0 || r.base >= r.start.id || r.first == 0 || r.blocks > maxBlock {
		return r, recordError("load", fmt.Sprintf("%d from record %d on point %d", r.blocks, r.first, r.base),
			"blocks of the disk, on an earlier point")
	}
	return r, nil
}

// looseStage is what a stage record says, before a load record makes it count.
type looseStage struct {
	seq    sequence
	places []placement
	sums   []uint32
}

// applyStage keeps a stage record for the load record to come.
func (s *state) applyStage(payload []byte) error {
	places, sums, err := decodeWrite(payload, nil, nil)
	if err != nil {
		return err
	}
	if (len(sums) > 0) != (s.sums != nil) && anyPlaced(places) {
		return recordError("checksums of a stage record", len(sums), "as the volume was made")
	}
	s.loose = append(s.loose, looseStage{s.seq, places, sums})
	return nil
}

// gather returns what the stage records from one on say together. Those before it belong to a load
// that did not come about.
func (r *loadRecord) gather(loose []looseStage) (e entries, err error) {
	blocks := uint64(0)
	for _, l := range loose {
		if l.seq < r.first {
			continue
		}
		e.places, e.sums = append(e.places, l.places...), append(e.sums, l.sums...)
		for _, p := range l.places {
			blocks += p.n
		}
	}
	if blocks != r.blocks {
		return e, recordError("blocks of a load record", r.blocks, blocks)
	}
	return e, nil
}

func (s *state) applyLoad(payload []byte, loose []looseStage) error {
	r, err := decodeLoad(payload)
	if err != nil {
		return err
	}
	e, err := r.gather(loose)
	if err != nil {
		return err
	}
	base, err := s.point(r.base)
	if err != nil {
		return err
	}
	if r.start.id != s.epoch {
		return recordError("point of a load record", r.start.id, s.epoch)
	}
	if err := s.catchUp(); err != nil {
		return err
	}
	records, err := holding(base.id, s.behind(base), s.pages)
	if err != nil {
		return err
	}
	if err := s.orSweep(func() error { return s.ensureLoad(base, records, e.places) }); err != nil {
		return err
	}
	s.become(records, e, r.start.point())
	return nil
}
