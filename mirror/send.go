package mirror

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
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
	joined  []stretch
	bulk    int64
}

// sendBatch sends a batch in as few frames as it fits into. The batch is released when its last frame
// arrived. Until then the secondary may still need it again; and if the kernel was given pages of
// the data file they must not change, because the network may read them once more.
func (s *Session) sendBatch(to packer, b Batch) error {
	if b.Release == nil {
		b.Release = func(bool) {}
	}
	d := &dispatcher{s: s, to: to, of: &b}
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
	posted, err := s.sendParcel(to, d.p, &b, true)
	if !posted {
		b.Release(false)
	}
	return err
}

// damage says what is wrong with a stretch of the disk, of the batch, that a checksum refused.
func (b *Batch) damage(off, n int64) error {
	if b.Verify != nil {
		if err := b.Verify(off, n); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %d bytes from byte %d of the disk, when they were read", ErrChecksum, n, off)
}

// dispatcher cuts one batch into frames.
type dispatcher struct {
	s  *Session
	to packer
	of *Batch
	p  parcel
}

// add sends what fills a frame; the rest waits in d.p.
func (d *dispatcher) add(c Change) error {
	for c.Len > 0 {
		if d.p.full() {
			if _, err := d.s.sendParcel(d.to, d.p, d.of, false); err != nil {
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
func (s *Session) sendParcel(to packer, p parcel, of *Batch, last bool) (posted bool, err error) {
	carried, content, err := s.fetch(&p, of)
	if err != nil {
		return false, err
	}
	defer content.free()
	done := false
	defer func() {
		if done {
			s.conn.keepPipe(carried)
		} else {
			carried.close()
		}
	}()
	k := to.packing()
	meta, size := k.body(p.extents), p.size(k.kind)
	if !s.out.window.reserve(size, s.stop) {
		return false, s.cause()
	}
	f := flight{size: size, disk: k.disk, of: of, last: last}
	err = s.conn.locked(func() error {
		h := s.conn.begin(k.kind, k.disk, meta, p.bulk)
		invariant(h.size() == size, "size of a frame")
		to.sent(p.extents)
		if posted = s.out.window.post(f); !posted {
			return s.cause()
		}
		if carried == nil {
			return s.conn.send(s.conn.head, content.bytes())
		}
		err := s.conn.sendPipe(carried, p.bulk)
		done = err == nil
		return err
	})
	s.out.window.moved(p.bulk, carried != nil)
	return posted, err
}

// fetch gets hold of a parcel's content: in a pipe, or read and judged.
func (s *Session) fetch(p *parcel, of *Batch) (*pipe, *buffer, error) {
	if p.bulk == 0 {
		return nil, nil, nil
	}
	if s.carried(p) {
		if q, err := s.conn.fillPipe(p); q != nil || err != nil {
			return q, nil, err
		}
	}
	b := getBuffer(int(p.bulk))
	if err := p.read(b.p, of); err != nil {
		b.free()
		return nil, nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	return nil, b, nil
}

// size of the frame that a parcel becomes.
func (p *parcel) size(kind Kind) int {
	return headerLen + rows[kind].least - extentLen + len(p.extents)*extentLen + int(p.bulk)
}

// read fills content from where the parts have it, and sums it once: for who is to check it, or to see that
// it is what the guest wrote.
func (p *parcel) read(content []byte, of *Batch) error {
	if err := readAll(content, p.stretches()); err != nil {
		return err
	}
	part := 0
	for i := range p.extents {
		e := &p.extents[i]
		if e.zero {
			continue
		}
		sum := Checksum(content[:e.len])
		if p.parts[part].Summed && sum != e.sum {
			return of.damage(e.off, e.len)
		}
		e.sum, content = sum, content[e.len:]
		part++
	}
	return nil
}

// stretch is content that can be read at once.
type stretch struct {
	from  io.ReaderAt
	at, n int64
}

// stretches joins the parts that are neighbours in a file.
func (p *parcel) stretches() []stretch {
	if p.joined != nil {
		return p.joined
	}
	for i := range p.parts {
		c := &p.parts[i]
		if k := len(p.joined) - 1; k >= 0 && c.follows(&p.joined[k]) {
			p.joined[k].n += c.Len
			continue
		}
		p.joined = append(p.joined, stretch{c.From, c.At, c.Len})
	}
	return p.joined
}

// follows says whether the change goes on in the file where the stretch ends.
func (c *Change) follows(x *stretch) bool {
	f, ok := x.from.(*os.File)
	g, same := c.From.(*os.File)
	return ok && same && f == g && c.At == x.at+x.n
}

// readers is how many stretches of a parcel are read at a time: a device does many as fast as one.
const readers = 16

// readAll fills content with stretches, one behind the other.
func readAll(content []byte, list []stretch) error {
	if len(list) == 1 {
		return list[0].read(content)
	}
	starts := make([][]byte, len(list))
	for i, x := range list {
		starts[i], content = content[:x.n], content[x.n:]
	}
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, min(readers, len(list)))
	for k := range errs {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list) && errs[k] == nil; i = int(next.Add(1)) - 1 {
				errs[k] = list[i].read(starts[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (x stretch) read(p []byte) error {
	if m, err := x.from.ReadAt(p, x.at); int64(m) < x.n {
		return fmt.Errorf("reading byte %d: %w", x.at, err)
	}
	return nil
}
