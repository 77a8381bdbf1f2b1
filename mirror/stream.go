package mirror

import (
	"context"
	"fmt"
	"sync"
)

// Stream sends the epochs of all disks: each as it comes, by a pump of its own, while the guest
// goes on. A seal lets the pumps run dry; the next ring start lets them run again.
type Stream struct {
	s     *Session
	dry   chan int // which pump has sent all of the epoch that was cut
	pumps []*pump
	mu    sync.Mutex // one Seal at a time
}

// pump sends the changes of one disk.
type pump struct {
	st     *Stream
	disk   int
	source Source
	again  chan struct{} // a token: the next epoch is open
	count  Count         // of the epoch; the pump's while it runs, Seal's while it is dry
}

// Stream begins to send what sources have, one for each disk, in the order of the hello. All disks
// must have been synchronised in this session.
func (s *Session) Stream(sources []Source) *Stream {
	invariant(len(sources) == len(s.cfg.Hello.Disks), "one source for each disk")
	st := &Stream{s: s, dry: make(chan int, len(sources))}
	for i, source := range sources {
		p := &pump{st: st, disk: i, source: source, again: make(chan struct{}, 1)}
		st.pumps = append(st.pumps, p)
		s.spawn(p.run)
	}
	return st
}

// run sends until the session ends.
func (p *pump) run() error {
	s := p.st.s
	for {
		b, err := p.source.Next(maxBulk)
		if err != nil {
			return fmt.Errorf("%w: disk %d: %w", ErrSource, p.disk, err)
		}
		if err := s.sendBatch(p, b); err != nil {
			return err
		}
		var wait <-chan struct{}
		switch {
		case b.Done:
			p.st.dry <- p.disk
			wait = p.again
		case len(b.Changes) == 0:
			wait = b.Wait
		default:
			continue
		}
		select {
		case <-wait:
		case <-s.stop:
			return nil
		}
	}
}

// packing is what frames of an epoch are made of.
func (p *pump) packing() packing {
	epoch := p.st.s.open()
	return packing{kindData, p.disk, func(list []extent) body { return &data{epoch, list} }}
}

// sent counts what went out.
func (p *pump) sent(list []extent) { p.count.add(list) }

func (c *Count) add(list []extent) {
	for _, e := range list {
		c.Extents++
		if e.zero {
			c.ZeroBytes += uint64(e.len)
		} else {
			c.DataBytes += uint64(e.len)
		}
	}
}

func (s *Session) open() uint64 {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.epoch
}

// Seal waits until everything of the open epoch, which the caller has cut in all sources, was sent,
// and says so. Acked is the answer; until then each step forward is a Progress. The digests are of the
// machine's rings, at most 2,048.
func (st *Stream) Seal(ctx context.Context, epoch uint64, rings []RingDigest) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.s
	switch {
	case len(rings) > maxRings:
		return fmt.Errorf("%d rings, at most %d", len(rings), maxRings)
	case s.open() != epoch:
		return fmt.Errorf("seal of epoch %d, but %d is open", epoch, s.open())
	}
	s.closing(true)
	if err := st.wait(ctx); err != nil {
		s.closing(false)
		return err
	}
	m := &seal{epoch: epoch, rings: rings}
	for _, p := range st.pumps {
		m.counts = append(m.counts, p.count)
		p.count = Count{}
	}
	s.out.mu.Lock()
	s.out.sealed = true // before the answer can come
	s.out.mu.Unlock()
	return s.conn.write(kindSeal, 0, m)
}

func (s *Session) closing(now bool) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.closing = now
}

// wait for all pumps to run dry. What ran dry before ctx ended is remembered in order not to be
// waited for again.
func (st *Stream) wait(ctx context.Context) error {
	for n := 0; n < len(st.pumps); n++ {
		select {
		case <-st.dry:
		case <-ctx.Done():
			for ; n > 0; n-- {
				st.dry <- 0
			}
			return ctx.Err()
		case <-st.s.stop:
			return st.s.cause()
		}
	}
	return nil
}

// RingStart announces that the primary's rings start again after the seal of an epoch, and lets the
// pumps send what the guest writes from now on. StartAcked is the answer; rings start when it has
// come. Announcing one again does nothing.
func (st *Stream) RingStart(epoch uint64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	opened, err := st.s.ringStart(epoch)
	if opened {
		for _, p := range st.pumps {
			p.again <- struct{}{}
		}
	}
	return err
}
