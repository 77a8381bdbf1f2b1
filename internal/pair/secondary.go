package pair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

// listen accepts sessions, one at a time.
func (p *Pair) listen(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = p.cfg.Listener.Close() })
	defer stop()
	for {
		c, err := p.cfg.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			p.log.Warn("a connection cannot be accepted", "error", err)
			continue
		}
		p.work.Go(func() {
			if err := p.accept(ctx, c); err != nil {
				p.log.Warn("a peer was refused", "from", c.RemoteAddr().String(), "reason", err)
				p.status.problem(err)
			}
		})
	}
}

// accept greets whoever connected and lets him be the primary, if he is.
func (p *Pair) accept(ctx context.Context, c net.Conn) error {
	c, err := p.cfg.Transport.Accepted(ctx, c)
	if err != nil {
		return err
	}
	var s *mirror.Session
	admitted := false
	s, err = mirror.Open(ctx, c, mirror.Config{
		Hello: p.hello(mirror.Secondary), Timeout: p.cfg.Times.Silence, Sink: p.sink,
		Reader: p.reader, Event: p.fromPrimary,
		Admit: func(peer *mirror.Hello) error {
			if peer.Role == mirror.Visitor {
				return nil
			}
			err := p.onLoop(ctx, func() error { return p.admit(peer) })
			admitted = err == nil
			return err
		},
	})
	if err != nil {
		if admitted {
			p.run(func() { p.busy = false })
		}
		if errors.Is(err, mirror.ErrVisited) {
			return nil
		}
		return err
	}
	p.run(func() {
		p.mirror = s
		p.status.problem(nil)
		p.log.Info("the primary is there", "generation", s.Generation())
	})
	p.work.Go(func() {
		<-s.Done()
		p.run(func() { p.lostPrimary(s) })
	})
	return nil
}

// onLoop runs something on the loop and waits for it.
func (p *Pair) onLoop(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	p.run(func() { done <- f() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit decides whether this side can follow now, and takes over what the primary says of the pair.
func (p *Pair) admit(peer *mirror.Hello) error {
	switch {
	case !p.secondary || p.s.Phase() != colo.SecondaryWaiting:
		return fmt.Errorf("this side is %s", p.phase())
	case p.busy:
		return errors.New("it has a primary")
	case !p.follows && p.unfit != nil:
		return p.unfit
	case !p.follows:
		return errors.New("its QEMU is not there yet")
	}
	if peer.Generation < p.generation {
		return fmt.Errorf("%w: %d, known is %d", mirror.ErrOlderGeneration, peer.Generation, p.generation)
	}
	for i, v := range p.volumes {
		err := v.update(func(s *checkpoint.PairState) {
			s.Pair, s.Role, s.Generation = p.cfg.Name, checkpoint.RoleSecondary, peer.Generation
			s.Peer = peer.Disks[i].ID
		})
		if err != nil {
			return err
		}
	}
	p.busy, p.generation = true, peer.Generation
	if m, ok := p.cfg.Witness.(interface{ Follow(generation uint64) }); ok {
		m.Follow(p.generation)
	}
	return nil
}

// syncBegun makes durable that a disk is between two states.
func (p *Pair) syncBegun(plan mirror.SyncPlan) error {
	if !p.cfg.on(ruleMarkSyncing) {
		return nil
	}
	return p.volumes[plan.Disk].update(func(s *checkpoint.PairState) { s.Syncing = true })
}

// fromPrimary passes on what the primary says. Of a session that ends before all is synchronised the
// machine never hears: the next one begins anew.
func (p *Pair) fromPrimary(e mirror.Event) {
	switch e := e.(type) {
	case mirror.SyncBegun:
		p.log.Info("synchronising", "disk", e.Plan.Disk, "bytes", e.Plan.All, "from", e.Plan.From.String())
	case mirror.SyncEnded:
		p.log.Info("synchronised", "disk", e.Disk)
		if p.sink.allSynced() {
			p.run(func() { p.known = true; p.take(colo.PeerUp{}) })
		}
	case mirror.Sealed:
		p.post(colo.Sealed{Epoch: colo.Epoch(e.Epoch), Digests: digestsOf(e.Rings)})
	case mirror.Complete:
		p.post(colo.Complete{Epoch: colo.Epoch(e.Epoch)})
	case mirror.RingsStarting:
		p.post(colo.RingsStarting{Epoch: colo.Epoch(e.Epoch)})
	case mirror.RenewalAsked:
		p.run(func() { p.renewal(e.For) })
	case mirror.ShutdownAnnounced:
		p.post(colo.ShutdownAnnounced{})
	case mirror.HandedOver:
		p.run(func() {
			if p.known {
				p.decide() // two of three want it
				p.take(colo.HandedOver{Why: e.Text})
			}
		})
	case mirror.GaveUp:
		p.tell(colo.GaveUp{Why: e.Text})
	}
}

// tell gives the machine what concerns it only once it knows of the primary.
func (p *Pair) tell(e colo.Event) {
	p.run(func() {
		if p.known {
			p.take(e)
		}
	})
}

// renewal passes a question for a promise on. Before there is anything to take over the promise is
// cheap: the machine counts one from PeerUp on, which outlasts all before.
func (p *Pair) renewal(span time.Duration) {
	p.promised = span
	if p.known {
		p.take(colo.RenewalAsked{})
		return
	}
	p.say(func(s *mirror.Session) error { return s.Renew() })
}

// lostPrimary is the end of a session.
func (p *Pair) lostPrimary(s *mirror.Session) {
	p.log.Warn("the session is over", "cause", s.Err())
	p.mirror, p.busy = nil, false
	if p.known {
		p.take(colo.PeerLost{Cause: fmt.Sprint(s.Err())})
	}
}

// answerPeer sends what a secondary says.
func (p *Pair) answerPeer(a colo.Action) bool {
	switch a := a.(type) {
	case colo.AckSeal:
		p.say(func(s *mirror.Session) error { return s.Ack(uint64(a.Epoch)) })
	case colo.AckStart:
		p.say(func(s *mirror.Session) error { return s.AckStart(uint64(a.Epoch)) })
	case colo.Renew:
		p.say(func(s *mirror.Session) error { return s.Renew() })
	case colo.Report:
		p.report(uint64(a.Epoch))
	case colo.AckShutdown:
		p.say(func(s *mirror.Session) error { return s.AckShutdown() })
	case colo.Leave:
		p.say(func(s *mirror.Session) error {
			s.Leave(mirror.Poisoned, a.Why)
			p.outlive(s)
			return nil
		})
	default:
		return false
	}
	return true
}

// report says that an epoch is current, and has it made durable afterwards.
func (p *Pair) report(epoch uint64) {
	durable := p.keptMark.Epoch
	p.say(func(s *mirror.Session) error { return s.Report(epoch, durable) })
	p.status.committed(epoch)
	if p.keeping {
		return
	}
	p.keeping = true
	mark, bases := mirror.Mark{Generation: p.generation, Epoch: int64(epoch)}, p.sink.bases()
	p.work.Go(func() {
		err := error(nil)
		for _, v := range p.volumes {
			err = errors.Join(err, v.Sync())
		}
		p.run(func() {
			p.keeping = false
			if err != nil {
				p.log.Error("the disks cannot be made durable", "error", err)
				p.take(colo.WriteFailed{}) // what they show from now on nobody knows
				return
			}
			p.kept(mark, bases)
		})
	})
}

// kept notes a durable epoch. What the primary was told of before stays: it may not know yet.
func (p *Pair) kept(mark mirror.Mark, bases []uint32) {
	for i, v := range p.volumes {
		if p.keptBases != nil {
			v.hold(p.keptBases[i])
		}
	}
	p.keptMark, p.keptBases = mark, bases
}

// meet takes a new QEMU in. A primary with a guest looks for its peer now; a secondary's QEMU must know
// before the memory comes.
func (p *Pair) meet() {
	if !p.secondary {
		if p.cfg.Peer != "" && !p.sought {
			p.work.Go(p.seekFirst)
		}
		if p.p.Phase() == colo.PrimaryPaired {
			p.work.Go(func() { p.stillColo() })
		}
		return
	}
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
		defer cancel()
		err := p.lacks(ctx, true)
		if err == nil {
			err = p.qemu.follower(ctx, host(p.cfg.Listener.Addr().String()))
		}
		if err != nil {
			p.log.Error("QEMU cannot be made to follow", "error", err)
			p.status.problem(err)
			p.run(func() { p.unfit = err })
			return
		}
		p.run(func() { p.follows, p.unfit = true, nil })
	})
}

// seekFirst looks for the peer that a primary was started with, if its QEMU can have one.
func (p *Pair) seekFirst() {
	if err := p.lacks(p.ctx, false); err != nil {
		p.log.Error("the guest cannot be protected", "error", err)
		p.status.problem(err)
		return
	}
	p.run(func() {
		if !p.sought {
			p.sought = true
			p.seek(p.ctx)
		}
	})
}

// stillColo looks whether QEMU left COLO while its events were not heard.
func (p *Pair) stillColo() {
	ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
	defer cancel()
	if p.qemu.leftColo(ctx) {
		p.post(colo.ColoExit{Reason: "seen when the monitor was there again"})
	}
}
