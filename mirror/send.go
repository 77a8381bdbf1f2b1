package mirror

import (
	"fmt"
	"os"
)

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

// sendBatch sends a batch in as few frames as it fits into. The batch is released when its last frame
// arrived. Until then the secondary may still need it again; and if the kernel was given pages of
// the data file they must not change, because the network may read them once more.
func (s *Session) sendBatch(to packer, b Batch) error {
	if b.Release == nil {
		b.Release = func(bool) {}
	}
	d := &dispatcher{s: s, to: to}
	for _, c := range b.Changes {
		if err := d.add(c); err != nil {
			b.Release(false)
			return err
		}
	}
	if len(d.p.extents) == 0 {
		b.Release(true)
		return nil
	}
	posted, err := s.sendParcel(to, d.p, b.Release)
	if !posted {
		b.Release(false)
	}
	return err
}

// dispatcher cuts one batch into frames.
type dispatcher struct {
	s  *Session
	to packer
	p  parcel
}

// add sends what fills a frame; the rest waits in d.p.
func (d *dispatcher) add(c Change) error {
	for c.Len > 0 {
		if d.p.full() {
			if _, err := d.s.sendParcel(d.to, d.p, nil); err != nil {
				return err
			}
			d.p = parcel{}
		}
		c = d.p.add(c)
	}
	return nil
}

// cutAlign is where changes are cut that do not fit into a frame, in bytes: stores take whole blocks.
const cutAlign = 4096

func (p *parcel) full() bool { return p.room() == 0 || len(p.extents) == maxExtents }

// room is how much of a change fits; a disk's last block may be shorter than a block.
func (p *parcel) room() int64 { return (maxBulk - p.bulk) &^ (cutAlign - 1) }

// add takes what fits of a change and returns the rest.
func (p *parcel) add(c Change) (rest Change) {
	invariant(c.Off >= 0 && c.Off%sector == 0 && c.Len%sector == 0, "a change in sectors")
	head, rest := c, Change{}
	if room := p.room(); !c.Zero && c.Len > room {
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
func (s *Session) sendParcel(to packer, p parcel, landed func(bool)) (posted bool, err error) {
	var content []byte
	files := s.byFile(&p)
	if !files && p.bulk > 0 {
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
		if posted = s.out.window.post(size, landed); !posted {
			return s.cause()
		}
		if files {
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
	rest := content
	for parts := p.parts; len(parts) > 0; {
		c, n, k := parts[0], parts[0].Len, 1
		for k < len(parts) && parts[k].follows(&c, n) {
			n += parts[k].Len
			k++
		}
		if m, err := c.From.ReadAt(rest[:n], c.At); int64(m) < n {
			return fmt.Errorf("reading byte %d: %w", c.At, err)
		}
		rest, parts = rest[n:], parts[k:]
	}
	part := 0
	for i := range p.extents {
		e := &p.extents[i]
		if e.zero {
			continue
		}
		if !p.parts[part].Summed {
			e.sum = Checksum(content[:e.len])
		}
		content = content[e.len:]
		part++
	}
	return nil
}

// follows says whether the change lies in the same file, n bytes behind the beginning of another.
func (c *Change) follows(first *Change, n int64) bool {
	f, ok := first.From.(*os.File)
	g, same := c.From.(*os.File)
	return ok && same && f == g && c.At == first.At+n
}
