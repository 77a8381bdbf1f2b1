package vhostuser

// Fresh reports whether nothing was ever taken from the ring: its driver has just set it up. It is for
// before the first Next.
func (q *Queue) Fresh() bool { return q.layout.fresh() }

func (s *split) fresh() bool { return s.position() == 0 && s.usedIdx == 0 }

func (p *packed) fresh() bool {
	first := spot{0, true}
	return p.position() == first.bits()|first.bits()<<16
}
