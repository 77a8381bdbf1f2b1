package checkpoint

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// slots says of each slot of the data area how many lifetimes name it (its count, which is
// persistent) and whether the running process uses it otherwise (busy: reserved for a write, or
// given up and not yet safe to write again). A slot is free when its count is zero and it is not
// busy; a free slot is cold once its hole was punched, and warm else.
//
// Counts are kept in a persistent array, a byte each; a stretch of 16 MiB whose counts are equal
// costs one element of a directory. Which slots are busy or cold is known only in memory and is
// nobody's after a restart.
//
// The directories are loaded when the store opens (4 KiB for each 4 GiB of data), because they
// tell how many slots are free; counts are loaded by ensure and by reserve. Every other method
// works on slots that an ensure of the same process covered or reserve returned.
type slots struct {
	array
	segs segments
	busy slotBits
	cold slotBits
	use  slotUsage

	at, end slot // where reserve goes on, in one segment
	punched bool // it may use cold slots there

	faults uint64 // counts that would have left their range: the counts on disk were wrong
}

// maxCount is the most lifetimes that can name a slot.
const maxCount = 255

// slotUsage says how many slots are what. total is the sum of referenced, busy and free; cold
// ones are free too.
type slotUsage struct {
	total      uint64
	referenced uint64 // named by a lifetime
	busy       uint64 // not named, in use by the process
	free       uint64
	cold       uint64
}

// newSlots makes the counts of so many slots from the roots in a catalog.
func newSlots(f *pageFile, mem *arena, c catalogArray, total uint64) (*slots, error) {
	s := &slots{}
	s.format, s.leafKind, s.dirKind = refsLeaf{}, kindRefsLeaf, kindRefsDirectory
	s.busy.mem, s.cold.mem = mem, mem
	if err := s.init(f, mem, c, (total+groupSlots-1)/groupSlots); err != nil {
		return nil, err
	}
	s.grow(total)
	return s, s.survey()
}

// survey counts the free slots of every directory on disk.
func (s *slots) survey() error {
	for i := range s.roots.rows {
		r := &s.roots.rows[i]
		if r.at == (ref{}) {
			continue
		}
		if err := s.loadDirectory(r); err != nil {
			return err
		}
		for j, e := range r.dir.elems {
			index := uint64(i*fanout + j)
			if e.empty() {
				continue
			}
			if err := s.surveyGroup(r.at, index, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// surveyGroup notes a group in which not all slots are free, and those before it, which are.
func (s *slots) surveyGroup(dir ref, index uint64, e element) error {
	size := s.segs.valid(index*groupSlots, groupSlots)
	if size == 0 || size < groupSlots && e.inline() || e.stored() && e.note() > groupSlots {
		off := int64(dir.page)*pageSize + int64(index%fanout)*elementLen
		return corrupt(mapName, off, "element of the reference counts", e, "counts of the data area")
	}
	if index > 0 {
		s.segs.touch(index - 1)
	}
	zeroes := uint64(e.note())
	if e.inline() {
		zeroes = 0
	}
	s.segs.found(index, zeroes, e.inline())
	s.segs.frontier = index + 1
	taken := size - uint64(s.segs.groups.rows[index].free)
	s.use.free -= taken
	s.use.referenced += taken
	return nil
}

// grow makes the data area so many slots long. The new ones are free and warm.
func (s *slots) grow(total uint64) {
	if total < s.use.total {
		return
	}
	s.extend((total + groupSlots - 1) / groupSlots)
	s.busy.grow(total)
	s.cold.grow(total)
	s.segs.grow(total)
	s.use.free += total - s.use.total
	s.use.total = total
	if s.at < s.end { // the segment under way may have been cut off
		segment := uint64(s.at) / segmentSlots * segmentSlots
		s.end = slot(segment + s.segs.valid(segment, segmentSlots))
	}
}

// usage returns how many slots are what.
func (s *slots) usage() slotUsage { return s.use }

// ensure loads the counts of n slots, which may lie outside the data area.
func (s *slots) ensure(first slot, n uint64) error {
	if n == 0 {
		return nil
	}
	if n > s.use.total || uint64(first) > s.use.total-n {
		return corrupt(mapName, 0, "slot named", uint64(first)+n-1, s.use.total)
	}
	from, to := uint64(first)/groupSlots, (uint64(first)+n-1)/groupSlots
	if err := s.ensureLeaves(from, to); err != nil {
		return err
	}
	s.segs.touch(to)
	for i := from; i <= to; i++ {
		if !s.segs.groups.rows[i].known {
			s.learn(i)
		}
	}
	return nil
}

// learn counts the free slots of a group whose counts were just loaded.
func (s *slots) learn(index uint64) {
	var warm [groupSegments]uint16
	before := uint64(s.segs.groups.rows[index].free)
	for i := range warm {
		for _, m := range s.freeIn(index*groupSegments+uint64(i), false) {
			warm[i] += uint16(bits.OnesCount64(m))
		}
	}
	s.segs.learn(index, &warm)
	after := uint64(s.segs.groups.rows[index].free)
	s.use.free += after - before
	s.use.referenced -= after - before
}

// freeIn returns which slots of a segment are free, with or without the cold ones.
func (s *slots) freeIn(segment uint64, cold bool) [segmentSlots / 64]uint64 {
	var m [segmentSlots / 64]uint64
	left := s.segs.valid(segment*segmentSlots, segmentSlots)
	for i := range m {
		at := slot(segment*segmentSlots + uint64(i)*64)
		n := min(left, 64)
		left -= n
		if n == 0 {
			break
		}
		m[i] = s.zeroes(at, ^uint64(0)>>(64-n)) &^ s.busy.word(at)
		if !cold {
			m[i] &^= s.cold.word(at)
		}
	}
	return m
}

// zeroes returns which of the slots in mask, around one slot, have a count of zero.
func (s *slots) zeroes(at slot, mask uint64) uint64 {
	p, e := s.leaf(uint64(at) / groupSlots)
	if p == nil {
		if e.empty() {
			return mask
		}
		return 0
	}
	return zeroBytes(p.bytes()[at%groupSlots&^63:], mask)
}

// zeroBytes returns which of the bytes in mask are zero, out of 64.
func zeroBytes(p []byte, mask uint64) uint64 {
	const low, magic = 0x7f7f7f7f7f7f7f7f, 0x0102040810204080
	var z uint64
	for i := uint(bits.TrailingZeros64(mask)) &^ 7; i < 64 && mask>>i != 0; i += 8 {
		w := binary.LittleEndian.Uint64(p[i:])
		w = ^(w&low + low | w | low) >> 7 // 1 for each byte that is zero
		z |= w * magic >> 56 << i         // gathered: bit k for byte k
	}
	return z & mask
}

// hold makes slots busy.
func (s *slots) hold(x extent) {
	for x.n > 0 {
		mask, k := maskOf(x)
		free := s.zeroes(x.first, mask) &^ s.busy.word(x.first)
		s.busy.set(x.first, mask)
		s.use.busy += uint64(bits.OnesCount64(free))
		s.unfree(x.first, free)
		x = extent{x.first + slot(k), x.n - k}
	}
}

// release makes slots no longer busy; those that nothing names are free and warm.
func (s *slots) release(x extent) { s.unbusy(x, false) }

// releaseCold is release for slots whose hole was punched.
func (s *slots) releaseCold(x extent) { s.unbusy(x, true) }

func (s *slots) unbusy(x extent, cold bool) {
	for x.n > 0 {
		mask, k := maskOf(x)
		free := s.zeroes(x.first, mask) & s.busy.word(x.first)
		s.busy.clear(x.first, mask)
		n := uint64(bits.OnesCount64(free))
		s.use.busy -= n
		s.use.free += n
		switch {
		case n == 0:
		case cold:
			s.cold.set(x.first, free)
			s.segs.addCold(extent{x.first, n})
			s.use.cold += n
		default:
			s.segs.add(extent{x.first, n})
		}
		x = extent{x.first + slot(k), x.n - k}
	}
}

// unfree takes slots out of the free ones: those in the bits around a slot.
func (s *slots) unfree(at slot, free uint64) {
	n := uint64(bits.OnesCount64(free))
	if n == 0 {
		return
	}
	s.use.free -= n
	if s.use.cold > 0 {
		if cold := free & s.cold.word(at); cold != 0 {
			k := uint64(bits.OnesCount64(cold))
			s.cold.clear(at, cold)
			s.segs.removeCold(extent{at, k})
			s.use.cold -= k
			n -= k
		}
	}
	if n > 0 {
		s.segs.remove(extent{at, n})
	}
}

// retain adds one to the counts of slots. Where retainable was not asked a count may be at its
// maximum; it stays there, and so does the slot.
func (s *slots) retain(x extent) {
	for x.n > 0 {
		mask, k := maskOf(x)
		p := s.edit(uint64(x.first) / groupSlots).bytes()
		at := uint64(x.first) % groupSlots
		zero := zeroBytes(p[at&^63:], mask)
		counts := p[at : at+k]
		for i, c := range counts {
			if c == maxCount {
				s.faults++
				continue
			}
			counts[i] = c + 1
		}
		if zero != 0 {
			busy := s.busy.word(x.first)
			s.use.referenced += uint64(bits.OnesCount64(zero))
			s.use.busy -= uint64(bits.OnesCount64(zero & busy))
			s.unfree(x.first, zero&^busy)
		}
		x = extent{x.first + slot(k), x.n - k}
	}
}

// drop takes one from the counts of slots and calls dead for each run of slots that nothing names
// any more, ascending. They are free by then, unless they are busy; dead may hold them.
func (s *slots) drop(x extent, dead func(extent)) {
	var run extent
	for x.n > 0 {
		mask, k := maskOf(x)
		died := s.dropIn(x.first, mask)
		if died != 0 {
			base := x.first &^ 63
			for died != 0 {
				from := bits.TrailingZeros64(died)
				n := bits.TrailingZeros64(^(died >> from))
				died &^= ^uint64(0) >> (64 - n) << from
				if first := base + slot(from); run.n > 0 && run.first+slot(run.n) == first {
					run.n += uint64(n)
				} else {
					if run.n > 0 {
						dead(run)
					}
					run = extent{first, uint64(n)}
				}
			}
		}
		x = extent{x.first + slot(k), x.n - k}
	}
	if run.n > 0 {
		dead(run)
	}
}

// dropIn takes one from the counts of the slots in mask, around a slot, and returns which reached
// zero. A count that is zero already stays.
func (s *slots) dropIn(at slot, mask uint64) uint64 {
	p := s.edit(uint64(at) / groupSlots).bytes()
	counts := p[at%groupSlots&^63:][:64]
	var died uint64
	for i := bits.TrailingZeros64(mask); i < 64 && mask>>i != 0; i++ {
		switch counts[i] {
		case 0:
			s.faults++
			continue
		case 1:
			died |= 1 << i
		}
		counts[i]--
	}
	if died == 0 {
		return 0
	}
	busy := s.busy.word(at)
	n := uint64(bits.OnesCount64(died))
	s.use.referenced -= n
	if held := uint64(bits.OnesCount64(died & busy)); held > 0 {
		s.use.busy += held
		n -= held
	}
	if n > 0 {
		s.use.free += n
		s.segs.add(extent{at, n})
	}
	return died
}

// retainable reports whether another lifetime can name each of the slots.
func (s *slots) retainable(x extent) bool { return s.below(x, maxCount) }

// below reports whether the counts of all slots are below a limit.
func (s *slots) below(x extent, limit uint8) bool {
	for x.n > 0 {
		at := uint64(x.first) % groupSlots
		k := min(x.n, groupSlots-at)
		p, e := s.leaf(uint64(x.first) / groupSlots)
		if p == nil && e.a >= uint64(limit) || p != nil && slices.Max(p.bytes()[at:at+k]) >= limit {
			return false
		}
		x = extent{x.first + slot(k), x.n - k}
	}
	return true
}

// peek fetches a slot's count.
func (s *slots) peek(at slot) uint64 {
	if p := s.page(uint64(at) / groupSlots); p != nil {
		return uint64(p.bytes()[at%groupSlots])
	}
	return 0
}

// count returns a slot's count, loading it.
func (s *slots) count(at slot) (uint8, error) {
	if err := s.ensure(at, 1); err != nil {
		return 0, err
	}
	p, e := s.leaf(uint64(at) / groupSlots)
	if p == nil {
		return uint8(e.a), nil
	}
	return p[at%groupSlots], nil
}

// close gives back what does not belong to the arena.
func (s *slots) close() {
	s.array.close()
	s.segs.close()
	s.busy.close()
	s.cold.close()
}
