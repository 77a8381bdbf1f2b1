package checkpoint

import "time"

// catalog returns the state as a catalog knows it, without the arrays: what it says of them is
// known when they are written. Nothing in it shares memory with the state, so that it may be
// encoded while the state goes on.
func (s *state) catalog() catalog {
	c := catalog{
		seq: s.seq, epoch: s.epoch, line: s.line, size: s.size, nextRun: s.nextRun,
		slots:    s.slots.usage().total,
		branches: append([]branch(nil), s.branches...),
	}
	for _, p := range s.points {
		c.points = append(c.points, catalogPoint{
			id: p.id, line: p.line, time: p.time.UnixNano(), size: p.size, seq: p.seq,
			flags: p.flags(), name: p.name,
		})
	}
	s.eachRun(func(owner epoch, r *run, flags runFlags) {
		c.runs = append(c.runs, catalogRun{
			id: r.id, owner: owner, flags: flags, blocks: r.blocks, full: r.full, head: r.head,
		})
	})
	return c
}

// runs returns every run, in the order of the catalog.
func (s *state) runs() []*run {
	var all []*run
	s.eachRun(func(_ epoch, r *run, _ runFlags) { all = append(all, r) })
	return all
}

func (s *state) eachRun(fn func(owner epoch, r *run, flags runFlags)) {
	for _, r := range s.orphans {
		fn(0, r, runSweep)
	}
	for _, p := range s.points {
		for _, r := range p.runs {
			var flags runFlags
			if r.sweep {
				flags |= runSweep
			}
			if r == p.open {
				flags |= runOpen
			}
			fn(p.id, r, flags)
		}
	}
}

// restore takes a catalog in.
func (s *state) restore(c *catalog) {
	s.seq, s.epoch, s.line, s.size, s.nextRun = c.seq, c.epoch, c.line, c.size, c.nextRun
	s.branches = c.branches
	for _, q := range c.points {
		p := &point{id: q.id, line: q.line, time: time.Unix(0, q.time), size: q.size, seq: q.seq, name: q.name}
		p.setFlags(q.flags)
		s.points = append(s.points, p)
	}
	for _, q := range c.runs {
		// The newest records may lie in a page that is not full. It stays as it is: a chain may
		// hold such pages anywhere.
		r := &run{id: q.id, sweep: q.flags&runSweep != 0, blocks: q.blocks, full: q.head, head: q.head}
		p, err := s.point(q.owner)
		if err != nil {
			s.orphans = append(s.orphans, r)
			continue
		}
		p.runs = append(p.runs, r)
		if q.flags&runOpen != 0 {
			p.open = r
		}
	}
}

func (p *point) flags() pointFlags {
	var f pointFlags
	for _, b := range []struct {
		on  bool
		bit pointFlags
	}{{p.retired, pointRetired}, {p.keep, pointKeep}, {p.left, pointLeft}, {p.temp, pointTemp}} {
		if b.on {
			f |= b.bit
		}
	}
	return f
}

func (p *point) setFlags(f pointFlags) {
	p.retired, p.keep = f&pointRetired != 0, f&pointKeep != 0
	p.left, p.temp = f&pointLeft != 0, f&pointTemp != 0
}
