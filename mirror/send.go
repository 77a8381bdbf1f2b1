package mirror

import "fmt"

// packing says what frames are made of a batch.
type packing struct {
	kind Kind
	disk int
	body func([]extent) body
}

// packer is who sends batches: a pump or a synchronisation.
type packer interface {
	packing() packing
	sent([]extent)
}

// parcel is one frame that is being put together.
type parcel struct {
	extents []extent
	parts   []Change // of which the content comes, in order; zeroes are left out
	bulk    int64
}

// sendBatch sends a batch in as few frames as it fits into.
func (s *Session) sendBatch(to packer, b Batch) error {
	d := &dispatcher{s: s, to: to, release: b.Release}
	if d.release == nil {
		d.release = func() {}
	}
	err := d.all(b.Changes)
	if !d.lent {
		d.release()
	}
	return err
}

// dispatcher sends one batch. The batch is released when its last frame was written; or, if the
// kernel was given pages of the data file, when that frame arrived: until then those pages must
// not change, because the network may read them again.
type dispatcher struct {
	s       *Session
	to      packer
	release func()
	files   bool // some frame went by file
	lent    bool // release was left to the window
	p       parcel
}

func (d *dispatcher) all(changes []Change) error {
	for _, c := range changes {
		for c.Len > 0 {
			if d.p.full() {
				if err := d.flush(false); err != nil {
					return err
				}
			}
			c = d.p.add(c)
		}
	}
	if len(d.p.extents) == 0 {
		return nil
	}
	return d.flush(true)
}

func (d *dispatcher) flush(last bool) error {
	files := d.s.byFile(&d.p)
	d.files = d.files || files
	f := outgoing{parcel: d.p, files: files}
	d.p = parcel{}
	if last && d.files {
		f.landed = func() { d.release() }
	}
	posted, err := d.s.sendParcel(d.to, &f)
	d.lent = d.lent || posted && f.landed != nil
	return err
}

// outgoing is a parcel on its way.
type outgoing struct {
	parcel
	files  bool   // its content is left to the kernel
	landed func() // called when it arrived; may be nil
}

func (p *parcel) full() bool { return p.bulk == maxBulk || len(p.extents) == maxExtents }

// add takes what fits of a change and returns the rest.
func (p *parcel) add(c Change) (rest Change) {
	invariant(c.Off >= 0 && c.Off%sector == 0 && c.Len%sector == 0, "a change in sectors")
	head, rest := c, Change{}
	if room := maxBulk - p.bulk; !c.Zero && c.Len > room {
		head, rest = c.cut(room)
	}
	if !c.Zero {
		p.parts = append(p.parts, head)
		p.bulk += head.Len
	}
	p.extents = append(p.extents, extent{off: head.Off, len: head.Len, zero: head.Zero, sum: head.sum()})
	return rest
}

// cut divides a change after n bytes. The checksum of the whole is of no use to the parts.
func (c Change) cut(n int64) (head, rest Change) {
	c.Summed = false
	head, rest = c, c
	head.Len = n
	rest.Off, rest.At, rest.Len = c.Off+n, c.At+n, c.Len-n
	return head, rest
}

func (c *Change) sum() uint32 {
	if c.Zero || !c.Summed {
		return 0
	}
	return c.Sum
}

// sendParcel waits for room at the peer and sends a frame. It says whether the window has it.
func (s *Session) sendParcel(to packer, p *outgoing) (posted bool, err error) {
	var content []byte
	if !p.files && p.bulk > 0 {
		b := getBuffer(int(p.bulk))
		defer b.free()
		if err := p.read(b.p); err != nil {
			return false, fmt.Errorf("%w: %w", ErrSource, err)
		}
		content = b.p
	}
	k := to.packing()
	meta, size := k.body(p.extents), p.size(k.kind)
	if !s.out.window.reserve(size, s.stop) {
		return false, s.cause()
	}
	err = s.conn.locked(func() error {
		h := s.conn.begin(k.kind, k.disk, meta, p.bulk)
		invariant(h.size() == size, "size of a frame")
		to.sent(p.extents)
		s.out.window.post(size, p.landed)
		posted = true
		if p.files {
			return s.conn.sendFiles(p.parts)
		}
		return s.conn.send(s.conn.head, content)
	})
	return posted, err
}

// size of the frame that a parcel becomes.
func (p *parcel) size(kind Kind) int {
	return headerLen + rows[kind].least - extentLen + len(p.extents)*extentLen + int(p.bulk)
}

// read fills content from where the parts have it, and sums what was not summed before.
func (p *parcel) read(content []byte) error {
	part := 0
	for i := range p.extents {
		e := &p.extents[i]
		if e.zero {
			continue
		}
		c := &p.parts[part]
		dst := content[:e.len]
		content = content[e.len:]
		part++
		if n, err := c.From.ReadAt(dst, c.At); int64(n) < e.len {
			return fmt.Errorf("reading byte %d: %w", c.At, err)
		}
		if !c.Summed {
			e.sum = Checksum(dst)
		}
	}
	return nil
}
