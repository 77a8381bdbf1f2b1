package checkpoint

import "math/bits"

// reserve appends to out up to n free slots in few, ascending extents, and makes them busy. Fewer
// than n means that there are no more; an error, that counts could not be loaded (slots appended
// before that are the caller's all the same).
//
// It fills one segment after the other, from front to back: the next one if that is wholly free,
// else one of those with the most free slots. Slots that were punched come before segments with
// few free slots, because a write in one piece is worth more than the space that it takes back.
func (s *slots) reserve(n uint64, out []extent) ([]extent, error) {
	own := len(out)
	for n > 0 {
		if s.at == s.end {
			if ok, err := s.choose(); !ok {
				return out, err
			}
		}
		out, n = s.fill(n, out, own)
	}
	return out, nil
}

// fill takes up to n slots from the segment under way. It appends to out, joining none of the
// first own extents, and returns how many slots are still missing.
func (s *slots) fill(n uint64, out []extent, own int) ([]extent, uint64) {
	free := s.freeIn(uint64(s.at)/segmentSlots, s.punched)
	for n > 0 && s.at < s.end {
		m := free[s.at%segmentSlots/64] >> (s.at % 64)
		if m == 0 {
			s.at = min(s.at&^63+64, s.end)
			continue
		}
		s.at += slot(bits.TrailingZeros64(m))
		m = free[s.at%segmentSlots/64] >> (s.at % 64)
		x := extent{s.at, min(uint64(bits.TrailingZeros64(^m)), n)}
		s.occupy(x)
		if k := len(out) - 1; k >= own && out[k].first+slot(out[k].n) == x.first {
			out[k].n += x.n
		} else {
			out = append(out, x)
		}
		s.at += slot(x.n)
		n -= x.n
	}
	return out, n
}

// occupy makes free slots, all within one word, busy.
func (s *slots) occupy(x extent) {
	mask, _ := maskOf(x)
	s.busy.set(x.first, mask)
	s.use.busy += x.n
	s.unfree(x.first, mask)
}

// choose finds the segment to fill next. False without an error: no slot is free.
func (s *slots) choose() (bool, error) {
	if s.follow() {
		return true, nil
	}
	for {
		index, ok := s.segs.best(goodClass)
		if !ok && s.segs.colds != 0 {
			s.openCold(uint64(s.segs.colds - 1))
			return true, nil
		}
		if !ok {
			index, ok = s.segs.best(1)
		}
		if !ok {
			return false, nil
		}
		if r := &s.segs.groups.rows[index]; r.known {
			s.begin(index*groupSegments+r.bestSegment(), false)
			return true, nil
		}
		if err := s.ensure(slot(index*groupSlots), 1); err != nil {
			return false, err
		}
	}
}

// follow goes on with the next segment if that is wholly free.
func (s *slots) follow() bool {
	segment := uint64(s.end) / segmentSlots
	index := segment / groupSegments
	if s.end%segmentSlots != 0 || s.segs.valid(segment*segmentSlots, segmentSlots) < segmentSlots {
		return false
	}
	if index >= s.segs.frontier+1 {
		return false
	}
	s.segs.touch(index)
	r := &s.segs.groups.rows[index]
	if !r.known || r.warm[segment%groupSegments] != segmentSlots {
		return false
	}
	s.begin(segment, false)
	return true
}

// cramped reports whether no segment but the one under way is wholly free, and fewer than least
// slots were never used.
func (s *slots) cramped(least uint64) bool {
	_, whole := s.segs.whole.last()
	return !whole && s.segs.valid(s.segs.frontier*groupSlots, least) < least
}

// openCold begins the segment of a group with the most free slots, cold ones included.
func (s *slots) openCold(index uint64) {
	best, most := uint64(0), 0
	for i := range uint64(groupSegments) {
		n := 0
		for _, m := range s.freeIn(index*groupSegments+i, true) {
			n += bits.OnesCount64(m)
		}
		if n > most {
			best, most = i, n
		}
	}
	s.begin(index*groupSegments+best, true)
}

func (s *slots) begin(segment uint64, punched bool) {
	s.at = slot(segment * segmentSlots)
	s.end = s.at + slot(s.segs.valid(segment*segmentSlots, segmentSlots))
	s.punched = punched
}

// takeWarm makes up to max adjacent free slots that are warm busy and returns them, for punching:
// whole segments as long as there are any, from the end of the data area. n is 0 when there are
// none, or none whose counts can be loaded.
func (s *slots) takeWarm(max uint64) extent {
	if x := s.takeWhole(max); x.n > 0 {
		return x
	}
	return s.takeLast(&s.segs.warm, max)
}

// takeWhole is takeWarm for whole segments only.
func (s *slots) takeWhole(max uint64) extent { return s.takeLast(&s.segs.whole, max) }

// takeLast takes slots of the last of some groups.
func (s *slots) takeLast(groups *groupBits, max uint64) extent {
	if s.use.total == 0 || max == 0 {
		return extent{}
	}
	s.segs.touch((s.use.total - 1) / groupSlots)
	for {
		index, ok := groups.last()
		if !ok {
			return extent{}
		}
		if s.segs.groups.rows[index].known {
			return s.takeFrom(index, max)
		}
		if err := s.ensure(slot(index*groupSlots), 1); err != nil {
			return extent{}
		}
	}
}

// takeFrom takes the last warm run of a group's best segment, or several segments wholly free.
func (s *slots) takeFrom(index, max uint64) extent {
	r := &s.segs.groups.rows[index]
	best := r.bestSegment()
	for i, n := range r.warm {
		if n == r.warm[best] {
			best = uint64(i)
		}
	}
	x := s.lastRun(index*groupSegments + best)
	for x.n%segmentSlots == 0 && best > 0 && r.warm[best-1] == segmentSlots && x.n < max {
		best--
		x = extent{x.first - segmentSlots, x.n + segmentSlots}
	}
	if x.n > max {
		x = extent{x.first + slot(x.n-max), max}
	}
	s.hold(x)
	return x
}

// lastRun returns the last run of warm slots in a segment that has some.
func (s *slots) lastRun(segment uint64) extent {
	free := s.freeIn(segment, false)
	end := uint64(segmentSlots)
	for end > 0 && free[(end-1)/64]>>((end-1)%64)&1 == 0 {
		end--
	}
	first := end
	for first > 0 && free[(first-1)/64]>>((first-1)%64)&1 != 0 {
		first--
	}
	return extent{slot(segment*segmentSlots + first), end - first}
}
