package checkpoint

// sums keeps a checksum for each slot of the data area; only with payload checksums. That of a
// slot never written is 0; those of freed slots stay until they are written again.
type sums struct{ array }

// leafSums is the number of slots that a leaf of the payload checksums covers.
const leafSums = pageSize / 4

// newSums makes the checksums of so many slots from the roots in a catalog.
func newSums(f *pageFile, mem *arena, c catalogArray, total uint64) (*sums, error) {
	s := &sums{}
	s.format, s.leafKind, s.dirKind = sumsLeaf{}, kindSumsLeaf, kindSumsDirectory
	return s, s.init(f, mem, c, (total+leafSums-1)/leafSums)
}

// grow makes room for a data area of so many slots.
func (s *sums) grow(total uint64) { s.extend((total + leafSums - 1) / leafSums) }

// ensure loads the checksums of n slots.
func (s *sums) ensure(first slot, n uint64) error {
	if n == 0 {
		return nil
	}
	return s.ensureLeaves(uint64(first)/leafSums, (uint64(first)+n-1)/leafSums)
}

// set keeps the checksums of the slots from first on, which are loaded.
func (s *sums) set(first slot, v []uint32) {
	for len(v) > 0 {
		at := uint64(first) % leafSums
		n := copy(s.edit(uint64(first) / leafSums).pairs()[at:], v)
		first, v = first+slot(n), v[n:]
	}
}

// get returns the checksum of a slot, which is loaded.
func (s *sums) get(at slot) uint32 {
	p, _ := s.leaf(uint64(at) / leafSums)
	if p == nil {
		return 0
	}
	return p.pairs()[at%leafSums]
}
