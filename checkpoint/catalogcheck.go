package checkpoint

// validate judges what a checksum cannot: values that no program of this version writes. The
// reader only lends its way of reporting.
func (c *catalog) validate(d *catalogReader) {
	d.off = 0
	switch {
	case c.gen == 0:
		d.fail("generation of the catalog", 0, "at least 1")
	case c.epoch == 0 || c.epoch > maxEpoch:
		d.fail("epoch", c.epoch, "1 to 2^28-1")
	case c.start.pos%8 != 0 || c.start.incarnation == 0:
		d.fail("journal position", c.start, "a multiple of 8 and an incarnation")
	case !validSize(c.size):
		d.fail("size of the disk", c.size, "whole sectors, at most 64 TiB")
	case c.slots > maxSlots:
		d.fail("slots of the data area", c.slots, "at most 2^36-2")
	case c.mapPages > maxMapPages:
		d.fail("pages of the map file", c.mapPages, "at most 2^40")
	}
	for _, a := range [...]*catalogArray{&c.blocks, &c.refs, &c.sums} {
		c.validateArray(d, a)
	}
	c.validatePoints(d)
	c.validateBranches(d)
	c.validateRuns(d)
	c.validateFree(d)
}

func validSize(n int64) bool { return n >= 0 && n <= maxDisk && n%sectorSize == 0 }

func (c *catalog) validateArray(d *catalogReader, a *catalogArray) {
	if a.pages > maxRoots*pageSize/refLen {
		d.fail("pages of an array", a.pages, "at most 2^26")
	}
	for _, r := range a.roots {
		c.validateRef(d, r)
	}
}

// validateRef: either no page, or one of the map file as this snapshot knows it.
func (c *catalog) validateRef(d *catalogReader, r ref) {
	if r == (ref{}) {
		return
	}
	if r.page == 0 || r.page >= c.mapPages || r.gen == 0 || r.gen > c.gen {
		d.fail("reference to a page", r, "a page of the map file, not newer than the catalog")
	}
}

func (c *catalog) validatePoints(d *catalogReader) {
	var last epoch
	for _, p := range c.points {
		if p.id <= last || p.id >= c.epoch {
			d.fail("number of a point", p.id, "ascending, below the epoch")
		}
		if p.flags&^pointFlagsKnown != 0 || !validSize(p.size) || p.seq > c.seq {
			d.fail("point", p, "known flags, whole sectors, a sequence number of the past")
		}
		last = p.id
	}
}

func (c *catalog) validateBranches(d *catalogReader) {
	var last line
	for i, b := range c.branches {
		if i > 0 && b.id <= last || b.at >= c.epoch || i > 0 && b.from >= b.id {
			d.fail("line", b, "ascending, begun at a point of an earlier line")
		}
		last = b.id
	}
}

func (c *catalog) validateRuns(d *catalogReader) {
	for _, r := range c.runs {
		if r.id == 0 || r.id > c.nextRun || r.owner >= c.epoch || r.flags&^runFlagsKnown != 0 {
			d.fail("run of death records", r, "a known number, owner and flags")
		}
		c.validateRef(d, r.full)
		c.validateRef(d, r.head)
	}
}

func (c *catalog) validateFree(d *catalogReader) {
	end := uint64(1)
	for _, x := range c.free {
		if x.page < end || x.n == 0 || x.n > c.mapPages || x.page > c.mapPages-x.n {
			d.fail("free extent of the map file", x, "ascending and inside the file")
		}
		end = x.page + x.n
	}
}
