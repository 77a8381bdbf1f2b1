package checkpoint

type sums struct{ array }

func newSums(f *pageFile, mem *arena, roots []ref, total uint64) (*sums, error) { panic(1) }
func (s *sums) grow(total uint64)                                               {}
func (s *sums) ensure(first slot, n uint64) error                               { panic(1) }
func (s *sums) set(first slot, v []uint32)                                      {}
func (s *sums) get(at slot) uint32                                              { panic(1) }
