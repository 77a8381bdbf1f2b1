package pair

import (
	"context"
	"errors"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/mirror"
)

// durable notes what the secondary has for good: older points are not needed any more.
func (p *Pair) durable(epoch int64) {
	if p.out == nil || epoch == mirror.Base {
		return
	}
	for i, v := range p.volumes {
		if points := p.out.points[uint64(epoch)]; points != nil && points[i] != 0 {
			v.hold(points[i])
		}
	}
}

// doPeer sends what concerns the peer.
func (p *Pair) doPeer(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Seal:
		p.seal(a)
	case colo.AnnounceStart:
		p.announceStart(a.Epoch)
	case colo.Commit:
		p.commit(uint64(a.Epoch))
	case colo.GiveUpPeer:
		p.log.Warn("the peer is given up", "why", a.Why)
		p.stopSealing()
		p.say(func(s *mirror.Session) error { s.GiveUp(mirror.Machine, a.Why); return nil })
	case colo.HandOver:
		p.log.Warn("the guest is handed over", "why", a.Why)
		p.say(func(s *mirror.Session) error {
			s.HandOver(mirror.Leaving, a.Why)
			p.outlive(s)
			return nil
		})
	case colo.AnnounceShutdown:
		p.say(func(s *mirror.Session) error { return s.AnnounceShutdown(mirror.GuestShutdown) })
	default:
		return p.answerPeer(a)
	}
	return true
}

// outlive waits until the peer has heard a session's last words, but not for ever: this side is about to
// end, and would take them with it.
func (p *Pair) outlive(s *mirror.Session) {
	select {
	case <-s.Done():
	case <-time.After(2 * p.cfg.Times.Silence):
	}
}

// say has something said to the peer, in order, beside the loop.
func (p *Pair) say(f func(*mirror.Session) error) {
	s := p.mirror
	if s == nil {
		return
	}
	p.saying.Add(1)
	p.voice.put(func() {
		defer p.saying.Done()
		if err := f(s); err != nil {
			p.log.Warn("to the peer", "error", err)
		}
	})
}

// speak says what say was given.
func (p *Pair) speak() {
	for {
		for _, f := range p.voice.take() {
			f()
		}
		select {
		case <-p.voice.wake:
		case <-p.mute:
			return
		}
	}
}

func (p *Pair) stopSealing() {
	if p.out != nil && p.out.sealing != nil {
		p.out.sealing()
	}
}

// seal ends the epoch on all disks at once, and sends the rest of it.
func (p *Pair) seal(a colo.Seal) {
	o := p.out
	if o == nil || o.stream == nil {
		p.post(colo.PeerLost{Cause: "there is no stream"})
		return
	}
	var points []uint32
	at := mirror.Mark{Generation: o.session.Generation(), Epoch: int64(a.Epoch)}
	for i, t := range o.copy.trackers {
		point, _, err := t.Start(markName(at, 0))
		if errors.Is(err, checkpoint.ErrUnretired) || errors.Is(err, checkpoint.ErrTooMany) {
			t.Cut() // without a point there is only more to send after a failure
			err = nil
		}
		if err != nil {
			p.log.Error("an epoch cannot be sealed", "disk", i, "error", err)
			go o.session.Close()
			return
		}
		points = append(points, point.ID)
	}
	o.points[uint64(a.Epoch)] = points
	ctx, cancel := context.WithCancel(p.ctx)
	o.sealing = cancel
	p.status.drained(time.Now())
	p.work.Go(func() {
		defer cancel()
		if err := o.stream.Seal(ctx, uint64(a.Epoch), ringDigests(a.Digests)); err != nil {
			p.log.Warn("seal", "epoch", a.Epoch, "error", err)
		}
		p.status.sent(time.Now())
		sent := o.session.Stats().Sent
		probe.MirrorSend(0, uint64(a.Epoch), sent-o.told.Swap(sent))
	})
}

// announceStart tells the secondary that the seal does not stand any longer. Disks go on behind it: so the
// first time after COLO was started, packets are compared from here on.
func (p *Pair) announceStart(e colo.Epoch) {
	if o := p.out; o != nil && o.stream != nil {
		p.say(func(*mirror.Session) error {
			if !p.compareCards() {
				return nil
			}
			return o.stream.RingStart(uint64(e))
		})
	}
}

// commit retires the points up to an epoch, which the secondary has made current.
func (p *Pair) commit(epoch uint64) {
	o := p.out
	p.status.committed(epoch)
	if o == nil {
		return
	}
	last := make([]uint32, len(p.volumes))
	for e, points := range o.points {
		if e > epoch {
			continue
		}
		for i, id := range points {
			last[i] = max(last[i], id)
		}
		if e+keepPoints < epoch {
			delete(o.points, e)
		}
	}
	for i, v := range p.volumes {
		p.work.Go(func() {
			if err := retireTo(v, last[i]); err != nil {
				p.log.Warn("a checkpoint cannot be retired", "disk", i, "error", err)
			}
		})
	}
}

// keepPoints is for how many epochs the points are remembered, until the secondary has them for good.
const keepPoints = 64

// retireTo retires points up to one.
func retireTo(v *volume, last uint32) error {
	v.retiring.Lock()
	defer v.retiring.Unlock()
	for {
		due := false
		for _, q := range v.Points() {
			_, mark := parseMark(q.Name)
			due = due || mark && !q.Retired && q.ID <= last
		}
		if !due {
			return nil
		}
		if _, err := v.Retire(context.Background()); err != nil {
			return err
		}
	}
}
