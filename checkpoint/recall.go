package checkpoint

import "slices"

// recall finds, after a power cut, what was written behind the end of what the journal proves: what
// the intents of the last incarnation say, as far as the data is there. Each block is judged by
// itself: a write that no flush covered may be there in part.
//
// Whatever a quick flush was answered for is found, because data and intents were durable then and
// neither is written over before a proof takes their place. What else is found was in flight or
// not flushed, and may be there or not. Nothing is found that was not written: a slot that was
// given to something else meanwhile does not have the checksum.
type recall struct {
	ring        intentRing
	incarnation uint32
	passed      intentNumber // only later intents are of interest
	found       []foundBlock // in the order of their numbers
}

// foundBlock is what an intent says of one block.
type foundBlock struct {
	number intentNumber
	place  placement
	sum    uint32
}

// recalled is what recovery found, to be entered into the journal.
type recalled struct {
	entries
	behind sequence // of the last record that the journal has
}

// recallOrder is the procedure. Its rows are those of docs/ORDERING.md.
var recallOrder = []step[recall]{
	{"read the intents", (*Store).readIntents},
	{"verify their data", (*Store).verifyFound},
	{"apply them", (*Store).applyFound},
}

// recallIntents brings the state, which is that of the journal's end, up to date with the intents.
// c is the catalog that it began from.
func (s *Store) recallIntents(c *catalog) error {
	h := &s.journal.hdr
	if !s.journal.lossy || h.ring.n == 0 {
		return nil
	}
	if c.start.incarnation == h.incarnation {
		s.journal.passed = max(s.journal.passed, c.passed)
	}
	r := recall{ring: h.ring, incarnation: h.incarnation, passed: s.journal.passed}
	return perform(s, recallOrder, &r)
}

// readIntents finds the intents of the incarnation that the end of the journal did not pass. There
// is one number for each slot of the ring that could be such: what is not it is older, or torn.
func (s *Store) readIntents(r *recall) error {
	total := s.slots.usage().total
	if uint64(r.ring.first) >= total {
		return nil // the file was not yet as long for good
	}
	n := min(r.ring.n, total-uint64(r.ring.first))
	p := alignedBytes(int(n) * intentLen)
	off := int64(r.ring.first) * blockSize
	if _, err := s.data.ReadAt(p, off); err != nil {
		return err
	}
	for k := range n {
		at := int64(k) * intentLen
		i, err := decodeIntent(p[at:at+intentLen], off+at, s.super.id, r.ring.key)
		if err != nil || i.incarnation != r.incarnation || uint64(r.ring.at(i.number)-r.ring.first) != k {
			continue
		}
		if i.number > r.passed && i.line == s.line && i.epoch == s.epoch {
			r.add(i)
		}
	}
	slices.SortStableFunc(r.found, func(a, b foundBlock) int {
		if a.number < b.number {
			return -1
		}
		return int(min(a.number-b.number, 1))
	})
	return nil
}

// add splits an intent into its blocks.
func (r *recall) add(i *intent) {
	sums := i.sums
	for _, p := range i.places {
		for k := range p.n {
			one := placement{p.block + block(k), p.slot + slot(k), 1}
			r.found = append(r.found, foundBlock{i.number, one, sums[k]})
		}
		sums = sums[p.n:]
	}
}

// verifyFound keeps the blocks whose data is there.
func (s *Store) verifyFound(r *recall) error {
	buf := alignedBytes(blockSize)
	kept := r.found[:0]
	for _, f := range r.found {
		if uint64(f.place.block) >= s.diskBlocks() || uint64(f.place.slot) >= s.slots.usage().total {
			continue
		}
		if _, err := s.data.ReadAt(buf, int64(f.place.slot)*blockSize); err != nil {
			return err
		}
		if payloadSum(buf) == f.sum {
			kept = append(kept, f)
		}
	}
	r.found = kept
	return nil
}

// applyFound makes the blocks part of the state, with the records that enterRecalled is to write.
func (s *Store) applyFound(r *recall) error {
	e := &s.recalled
	e.behind = s.seq
	for _, f := range r.found {
		e.add(f.place)
		if s.sums != nil {
			e.sums = append(e.sums, f.sum)
		}
		if err := s.ensurePlace(f.place); err != nil {
			return err
		}
	}
	for places, sums := e.places, e.sums; len(places) > 0; {
		n, k := chunk(places, sums)
		s.seq++
		s.write(places[:n], sums[:k])
		places, sums = places[n:], sums[k:]
	}
	if len(r.found) > 0 {
		s.stats.recalled.Add(uint64(len(r.found)))
		s.log.Info("writes recovered that were flushed, or on their way", "blocks", len(r.found))
	}
	return nil
}

// rewriteRecalled writes the data of what was recovered over itself. After a failed sync it may be
// in the page cache only, which takes it for clean: the sync to come would promise what is not on
// the disk.
func (s *Store) rewriteRecalled(*struct{}) error {
	buf := alignedBytes(blockSize)
	for _, p := range s.recalled.places {
		for k := range p.n {
			at := int64(p.slot+slot(k)) * blockSize
			if _, err := s.data.ReadAt(buf, at); err != nil {
				return err
			}
			if _, err := s.data.WriteAt(buf, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// enterRecalled makes records of what was recovered, behind the journal's end. They count when the
// next incarnation begins behind them, and with it the intents no longer do.
func (s *Store) enterRecalled(*struct{}) error {
	places, sums := s.recalled.places, s.recalled.sums
	s.recalled.entries = entries{}
	if len(places) == 0 {
		return nil
	}
	if err := s.journal.prolong(); err != nil {
		return err
	}
	for seq := s.recalled.behind; len(places) > 0; {
		n, k := chunk(places, sums)
		payload, err := s.journal.reserve(writePayload(n, k), true)
		if err != nil {
			return err
		}
		encodeWrite(payload, places[:n], sums[:k])
		seq++
		s.journal.seal(recordWrite, seq, s.line, s.epoch)
		places, sums = places[n:], sums[k:]
	}
	return nil
}
