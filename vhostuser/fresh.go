package vhostuser

import "runtime/debug"

// Fresh reports whether nothing was ever put into the ring: its driver has just set it up. It is for
// before the first Next; no one else may use the queue meanwhile.
func (q *Queue) Fresh() (fresh bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	return q.layout.fresh(), nil
}

func (s *split) fresh() bool {
	return s.position() == 0 && s.usedIdx == 0 && load16(s.avail, availIdxOff) == 0
}

// fresh looks at the first place of the ring only: the first chain goes there.
func (p *packed) fresh() bool {
	first := spot{0, true}
	if p.position() != first.bits()|first.bits()<<16 {
		return false
	}
	return !first.available(load16(p.desc, packedIDOff+2))
}
