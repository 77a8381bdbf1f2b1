package checkpoint

type slots struct{ array }

type slotUsage struct{ total, referenced, busy, free, cold uint64 }

func newSlots(f *pageFile, mem *arena, roots []ref, total uint64) (*slots, error) { panic(1) }
func (s *slots) grow(total uint64)                                                {}
func (s *slots) usage() slotUsage                                                 { panic(1) }
func (s *slots) ensure(first slot, n uint64) error                                { panic(1) }
func (s *slots) reserve(n uint64, out []extent) ([]extent, error)                 { panic(1) }
func (s *slots) hold(x extent)                                                    {}
func (s *slots) release(x extent)                                                 {}
func (s *slots) releaseCold(x extent)                                             {}
func (s *slots) retain(x extent)                                                  {}
func (s *slots) drop(x extent, dead func(extent))                                 {}
func (s *slots) retainable(x extent) bool                                         { panic(1) }
func (s *slots) takeWarm(max uint64) extent                                       { panic(1) }
func (s *slots) count(at slot) (uint8, error)                                     { panic(1) } // loads; for check
