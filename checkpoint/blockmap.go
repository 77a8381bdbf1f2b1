package checkpoint

type blockMap struct{ array }

func newBlockMap(f *pageFile, mem *arena, roots []ref, blocks uint64) (*blockMap, error) { panic(1) }
func (m *blockMap) grow(blocks uint64)                                                   {}
func (m *blockMap) limit(slots uint64)                                                   {} // entries read from disk must lie below
func (m *blockMap) ensure(b block, n uint64) error                                       { panic(1) }
func (m *blockMap) run(b block, max uint64) (entry, uint64)                              { panic(1) }
func (m *blockMap) replace(b block, n uint64, e entry, died func(b block, n uint64, old entry)) {
}

// next: the first run at or behind b, before end, whose entry is not 0; n=0: none. Loads.
func (m *blockMap) next(b, end block) (at block, e entry, n uint64, err error) { panic(1) }
