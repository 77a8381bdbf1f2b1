package checkpoint

// slotBits is a bit for each slot of the data area, outside the Go heap and only where bits were
// ever set.
type slotBits struct {
	mem   *arena
	parts table[*page]
}

// partSlots is the number of slots that a page of bits covers.
const partSlots = pageSize * 8

func (b *slotBits) grow(total uint64) { b.parts.grow((total + partSlots - 1) / partSlots) }
func (b *slotBits) close()            { b.parts.close() }

// word returns the bits of the 64 slots around one.
func (b *slotBits) word(at slot) uint64 {
	p := b.parts.rows[at/partSlots]
	if p == nil {
		return 0
	}
	return p.words()[at%partSlots/64]
}

// set sets some of the bits in the word around a slot.
func (b *slotBits) set(at slot, mask uint64) {
	p := b.parts.rows[at/partSlots]
	if p == nil {
		p = b.mem.page()
		b.parts.rows[at/partSlots] = p
	}
	p.words()[at%partSlots/64] |= mask
}

// clear clears some of the bits in the word around a slot.
func (b *slotBits) clear(at slot, mask uint64) {
	if p := b.parts.rows[at/partSlots]; p != nil {
		p.words()[at%partSlots/64] &^= mask
	}
}

// maskOf returns the bits of an extent's slots within the word of its first, and their number.
func maskOf(x extent) (mask, n uint64) {
	from := uint64(x.first % 64)
	n = min(x.n, 64-from)
	return ^uint64(0) >> (64 - n) << from, n
}
