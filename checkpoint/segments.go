package checkpoint

import "math/bits"

// A segment is 256 adjacent slots, 1 MiB: what a batch of writes fills in ascending order. A
// group is the 16 segments whose reference counts share a leaf. The free slots of a group are
// warm, or cold where their hole is punched.
const (
	segmentSlots  = 256
	groupSlots    = pageSize
	groupSegments = groupSlots / segmentSlots
)

// group counts the free slots of 16 segments. Of a group whose counts are not loaded only the
// number of free slots is known; all of them are warm then.
type group struct {
	warm  [groupSegments]uint16 // free and warm slots of each segment; only if known
	free  uint16                // warm slots of the group
	cold  uint16                // cold slots of the group
	known bool
	class uint8 // list it is in; 0: none

	next, prev         uint32 // in that list; index + 1
	nextCold, prevCold uint32 // in the list of groups with cold slots
}

// segments finds segments with many free slots. Groups are kept in lists by the best segment
// they have, in classes of a sixteenth of a segment, so that a choice looks at one group. Groups
// behind the frontier were never used: all their slots are free and warm, and no memory says so.
//
// The store's mutex guards it.
type segments struct {
	groups   table[group]
	total    uint64 // slots
	frontier uint64 // groups from here on are untouched
	lists    [classes]uint32
	colds    uint32    // first group with cold slots
	warm     groupBits // groups with warm slots
	whole    groupBits // groups with a segment that is wholly free
}

// A group whose best segment has n free slots is in class (n + 15) / 16: fine enough to find nearly
// the best of all. With classes of doubling size a segment chosen by a guest's random writes had
// 1.4 free slots side by side, with these 1.6 (at 30 % slack).
//
// wholeClass is the class of groups with a free segment; goodClass, the least one that is better
// than to begin cold slots: writes of more than 32 blocks a segment.
const (
	classSlots = 16
	wholeClass = segmentSlots/classSlots + 1
	goodClass  = 3
	classes    = wholeClass + 1
)

func classOf(n uint16) uint8 {
	if n == segmentSlots {
		return wholeClass
	}
	return uint8((n + classSlots - 1) / classSlots)
}

// grow makes the data area so many slots long; the new ones are free and warm.
func (g *segments) grow(total uint64) {
	old := g.total
	n := (total + groupSlots - 1) / groupSlots
	g.groups.grow(n)
	g.warm.grow(n)
	g.whole.grow(n)
	g.total = total
	if at := old / groupSlots; old%groupSlots != 0 && at < g.frontier {
		g.complete(at, old)
	}
}

// complete adds the slots from old on to the group that was cut off there.
func (g *segments) complete(index, old uint64) {
	r := &g.groups.rows[index]
	end := min(g.total, (index+1)*groupSlots)
	r.free += uint16(end - old)
	for r.known && old < end {
		stop := min(old/segmentSlots*segmentSlots+segmentSlots, end)
		r.warm[old%groupSlots/segmentSlots] += uint16(stop - old)
		old = stop
	}
	g.relink(index)
}

// touch brings all groups up to one into existence.
func (g *segments) touch(index uint64) {
	for ; g.frontier <= index; g.frontier++ {
		g.found(g.frontier, groupSlots, true)
	}
}

// valid returns how many slots from first on, at most n, the data area has.
func (g *segments) valid(first, n uint64) uint64 {
	return min(n, max(g.total, first)-first)
}

// found notes a group at the frontier whose counts have so many zeroes; loaded says that it is
// known where they are, because they all are zero or none is.
func (g *segments) found(index, zeroes uint64, loaded bool) {
	r := &g.groups.rows[index]
	size := g.valid(index*groupSlots, groupSlots)
	missing := groupSlots - size
	r.free = uint16(max(zeroes, missing) - missing)
	r.known = loaded
	if loaded && r.free > 0 {
		for i := range r.warm {
			r.warm[i] = uint16(g.valid(index*groupSlots+uint64(i)*segmentSlots, segmentSlots))
		}
	}
	g.relink(index)
}

// learn notes how many slots of each segment of a group are free and not busy.
func (g *segments) learn(index uint64, warm *[groupSegments]uint16) {
	r := &g.groups.rows[index]
	r.warm, r.known, r.free = *warm, true, 0
	for _, n := range warm {
		r.free += n
	}
	g.relink(index)
}

// add notes slots of one segment that became free and warm.
func (g *segments) add(x extent) {
	index := uint64(x.first) / groupSlots
	r := &g.groups.rows[index]
	w := &r.warm[x.first%groupSlots/segmentSlots]
	*w += uint16(x.n)
	r.free += uint16(x.n)
	if classOf(*w) > r.class {
		g.relink(index)
	}
}

// remove notes warm slots of one segment that are no longer free.
func (g *segments) remove(x extent) {
	index := uint64(x.first) / groupSlots
	r := &g.groups.rows[index]
	w := &r.warm[x.first%groupSlots/segmentSlots]
	was := classOf(*w)
	*w -= uint16(x.n)
	r.free -= uint16(x.n)
	if was == r.class && classOf(*w) < was {
		g.relink(index)
	}
}

// addCold and removeCold do the same for cold slots.
func (g *segments) addCold(x extent) {
	index := uint32(uint64(x.first) / groupSlots)
	r := &g.groups.rows[index]
	if r.cold == 0 {
		r.nextCold, r.prevCold = g.colds, 0
		if g.colds != 0 {
			g.groups.rows[g.colds-1].prevCold = index + 1
		}
		g.colds = index + 1
	}
	r.cold += uint16(x.n)
}

func (g *segments) removeCold(x extent) {
	r := &g.groups.rows[uint64(x.first)/groupSlots]
	r.cold -= uint16(x.n)
	if r.cold > 0 {
		return
	}
	if r.prevCold != 0 {
		g.groups.rows[r.prevCold-1].nextCold = r.nextCold
	} else {
		g.colds = r.nextCold
	}
	if r.nextCold != 0 {
		g.groups.rows[r.nextCold-1].prevCold = r.prevCold
	}
}

// relink puts a group into the list of its class.
func (g *segments) relink(index uint64) {
	r := &g.groups.rows[index]
	best := (r.free + groupSegments - 1) / groupSegments
	if r.known {
		best = 0
		for _, n := range r.warm {
			best = max(best, n)
		}
	}
	class := classOf(best)
	if class == r.class {
		return
	}
	g.unlink(r)
	if class != 0 {
		r.next, r.prev = g.lists[class], 0
		if r.next != 0 {
			g.groups.rows[r.next-1].prev = uint32(index) + 1
		}
		g.lists[class] = uint32(index) + 1
	}
	r.class = class
	g.warm.put(index, class != 0)
	g.whole.put(index, class == wholeClass)
}

func (g *segments) unlink(r *group) {
	if r.class == 0 {
		return
	}
	if r.prev != 0 {
		g.groups.rows[r.prev-1].next = r.next
	} else {
		g.lists[r.class] = r.next
	}
	if r.next != 0 {
		g.groups.rows[r.next-1].prev = r.prev
	}
}

// best returns the group with the most free slots in one segment, of at least a class.
func (g *segments) best(least uint8) (uint64, bool) {
	for c := uint8(wholeClass); c >= least; c-- {
		if i := g.lists[c]; i != 0 {
			return uint64(i - 1), true
		}
		if c == wholeClass && g.valid(g.frontier*groupSlots, 1) == 1 {
			g.touch(g.frontier)
			c++
		}
	}
	return 0, false
}

// bestSegment returns the known group's segment with the most warm slots.
func (r *group) bestSegment() uint64 {
	best := 0
	for i, n := range r.warm {
		if n > r.warm[best] {
			best = i
		}
	}
	return uint64(best)
}

func (g *segments) close() {
	g.groups.close()
	g.warm.words.close()
	g.whole.words.close()
}

// groupBits is a set of groups that knows its last member.
type groupBits struct {
	words table[uint64]
	top   int // no member lies in a word behind this one
}

func (b *groupBits) grow(n uint64) { b.words.grow((n + 63) / 64) }

func (b *groupBits) put(i uint64, member bool) {
	w := &b.words.rows[i/64]
	*w &^= 1 << (i % 64)
	if member {
		*w |= 1 << (i % 64)
		b.top = max(b.top, int(i/64))
	}
}

// last returns the last member.
func (b *groupBits) last() (uint64, bool) {
	for ; b.top >= 0 && b.top < len(b.words.rows); b.top-- {
		if w := b.words.rows[b.top]; w != 0 {
			return uint64(b.top)*64 + uint64(63-bits.LeadingZeros64(w)), true
		}
	}
	b.top = 0
	return 0, false
}
