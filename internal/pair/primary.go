package pair

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/mirror"
)

// outgoing is what a primary sends in one session.
type outgoing struct {
	session *mirror.Session
	copy    *copying
	stream  *mirror.Stream
	sealing context.CancelFunc
	told    atomic.Uint64       // bytes that earlier epochs had, by the probe points
	points  map[uint64][]uint32 // of epochs that are not retired, by disk
}

// copying is a synchronisation, which may take several sessions, and the stream behind it: of each disk
// what changed since it began.
type copying struct {
	run      mirror.ID
	trackers []*checkpoint.Tracker
	planned  atomic.Int32 // disks whose trackers have been given all that the partner lacks
}

// whole says that what did not arrive can be sent in another session: the trackers know all of it. Where a
// session broke before that, the partner would say that it still has all that it took, and get the rest
// never.
func (c *copying) whole() bool { return int(c.planned.Load()) == len(c.trackers) }

func (c *copying) close() {
	if c == nil {
		return
	}
	for _, t := range c.trackers {
		t.Close()
	}
}

// seek looks for the peer, again after each session that came to nothing. The pair is made once: whoever
// was given up is sought again when the operator says so.
func (p *Pair) seek(ctx context.Context) {
	if p.seeking {
		return
	}
	p.seeking = true
	peer := p.cfg.Peer
	p.work.Go(func() {
		for pause := p.cfg.Times.again(); ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
			s, err := p.call(ctx, peer)
			if err == nil {
				p.run(func() { p.seeking = false; p.meetPeer(s) })
				return
			}
			p.log.Warn("the peer cannot be reached", "peer", peer, "reason", err)
			p.status.problem(err)
			if isFinal(err) {
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
		p.run(func() { p.seeking = false })
	})
}

// isFinal says that trying again would not help.
func isFinal(err error) bool {
	for _, e := range []error{
		mirror.ErrNotMirror, mirror.ErrVersion, mirror.ErrWrongPeer, mirror.ErrWrongVolume, mirror.ErrSize,
		mirror.ErrOlderGeneration, mirror.ErrCertificate,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// call opens a session.
func (p *Pair) call(ctx context.Context, peer string) (*mirror.Session, error) {
	if err := p.freshGeneration(ctx); err != nil {
		return nil, err
	}
	c, err := p.cfg.Transport.Dial(ctx, peer)
	if err != nil {
		return nil, err
	}
	return mirror.Open(ctx, c, mirror.Config{
		Hello: p.hello(mirror.Primary), Timeout: p.cfg.Times.Silence,
		Reader: p.reader, Event: p.fromSecondary, Admit: p.remember, Clock: p.clock(),
	})
}

// freshGeneration makes sure that no mark of the generation exists: a pair is made once in each. This
// side serves alone, so that nobody loses by it.
func (p *Pair) freshGeneration(ctx context.Context) error {
	state, _ := p.volumes[0].Pair()
	if !marked(p.volumes, state.Generation) || !p.cfg.on(ruleFreshMarks) {
		return nil
	}
	if _, err := p.register(ctx, state.Generation); err != nil {
		return fmt.Errorf("the witness: %w", err)
	}
	won, now, err := p.claim(ctx, colo.ClaimAlone, state.Generation)
	if err == nil && !won {
		err = errors.New("another generation was won")
	}
	if err != nil {
		return fmt.Errorf("the witness: %w", err)
	}
	return p.onLoop(ctx, func() error { p.generation = now; return nil })
}

// remember makes durable which volumes are the partner's.
func (p *Pair) remember(peer *mirror.Hello) error {
	for i, v := range p.volumes {
		if err := v.update(func(s *checkpoint.PairState) { s.Peer = peer.Disks[i].ID }); err != nil {
			return err
		}
	}
	return nil
}

// hello is what this side says of itself.
func (p *Pair) hello(role mirror.Role) mirror.Hello {
	h := greeting(p.volumes, p.cfg.Name)
	h.Role = role
	if role == mirror.Secondary {
		h.Window = p.cfg.Window
	}
	return h
}

func greeting(volumes []*volume, name string) mirror.Hello {
	h := mirror.Hello{Name: name, Marks: commonMarks(volumes)}
	for _, v := range volumes {
		state, _ := v.Pair()
		h.Generation = max(h.Generation, state.Generation)
		h.Was = mirror.Role(state.Role)
		h.Disks = append(h.Disks, v.hello())
	}
	return h
}

// fromSecondary passes on what the secondary says.
func (p *Pair) fromSecondary(e mirror.Event) {
	switch e := e.(type) {
	case mirror.Acked:
		probe.MirrorAck(0, e.Epoch, uint64(p.status.acked(time.Now())))
		p.post(colo.Acked{Epoch: colo.Epoch(e.Epoch)})
	case mirror.Reported:
		p.run(func() {
			p.durable(e.Durable)
			p.take(colo.Reported{Epoch: colo.Epoch(e.Epoch)})
		})
	case mirror.Progress:
		p.post(colo.Progress{})
	case mirror.StartAcked:
		p.post(colo.StartAcked{Epoch: colo.Epoch(e.Epoch)})
	case mirror.ShutdownAcked:
		p.post(colo.ShutdownAcked{})
	case mirror.Renewed:
		p.post(colo.Renewed{Until: e.Until})
	case mirror.Left:
		p.post(colo.PeerLeft{Why: e.Text})
	}
}

// meetPeer takes a session in. While the machine has no use for one it ends again.
func (p *Pair) meetPeer(s *mirror.Session) {
	if p.secondary || p.p.Phase() != colo.PrimaryAlone || p.mirror != nil {
		go s.Close()
		return
	}
	o := &outgoing{session: s, copy: p.copy, points: map[uint64][]uint32{}}
	if o.copy == nil {
		o.copy = &copying{run: newID()}
	}
	p.copy = nil
	p.mirror, p.out = s, o
	p.status.problem(nil)
	p.log.Info("the peer is there", "generation", s.Generation())
	p.take(colo.PeerUp{})
	p.work.Go(func() { p.renew(s) })
	p.work.Go(func() {
		if err := p.synchronise(o); err != nil {
			p.log.Warn("synchronisation", "error", err)
			p.status.problem(err)
			s.Close()
		}
	})
	p.work.Go(func() {
		<-s.Done()
		p.run(func() { p.lostPeer(s, o) })
	})
}

// lostPeer is the end of a session.
func (p *Pair) lostPeer(s *mirror.Session, o *outgoing) {
	early := p.p.Phase() == colo.PrimarySyncing
	p.log.Warn("the session is over", "cause", s.Err())
	p.mirror = nil
	if early && p.out == o && (o.copy.whole() || !p.cfg.on(ruleWholePlan)) {
		p.copy, p.out = o.copy, nil // what did not arrive is sent in the next session
	}
	p.closeOut()
	p.take(colo.PeerLost{Cause: fmt.Sprint(s.Err())})
	if early {
		p.seek(p.ctx)
	}
}

// closeOut ends the tracking of changes. From now on the newest common point says what has changed.
func (p *Pair) closeOut() {
	o := p.out
	if o == nil {
		return
	}
	p.out = nil
	if o.sealing != nil {
		o.sealing()
	}
	o.copy.close()
}

// renew keeps the secondary's promise going, as long as the machine wants it.
func (p *Pair) renew(s *mirror.Session) {
	tick := time.NewTicker(p.cfg.Times.Promise / 8)
	defer tick.Stop()
	for {
		p.run(func() {
			if p.mirror == s && !p.secondary && p.p.Renews() {
				p.say(func(s *mirror.Session) error { return s.AskRenewal(p.cfg.Times.Promise) })
			}
		})
		select {
		case <-tick.C:
		case <-s.Done():
			return
		}
	}
}
