package pair

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// MayServe asks the witness whether this side may serve as the primary at all: while it was away the
// other side may have won, and its guest lives there now. As long as the witness does not answer nobody
// knows, so it waits. It is to be asked before a front end may connect.
func (p *Pair) MayServe(ctx context.Context) error {
	if p.secondary {
		return nil
	}
	if _, ok := p.cfg.Witness.(*witness.Manual); ok {
		return p.askPartner(ctx)
	}
	var state witness.State
	err := p.untilAnswered(ctx, "waiting for the witness: the other side may be serving", func() (err error) {
		state, err = p.cfg.Witness.State(ctx)
		if errors.Is(err, witness.ErrUnknownPair) {
			state, err = witness.State{}, nil // nobody has ever taken over
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.compare(state)
}

// untilAnswered asks the witness again and again, until it answers. Each new reason why it does not is
// told once.
func (p *Pair) untilAnswered(ctx context.Context, waiting string, ask func() error) error {
	for last := ""; ; {
		err := ask()
		if err == nil {
			return nil
		}
		if err.Error() != last {
			p.log.Warn(waiting, "reason", err)
			last = err.Error()
		}
		select {
		case <-time.After(p.cfg.Times.again()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// compare sets what the witness knows against what is known here. A generation that this side won
// itself may be missing here: it died before it was written down.
func (p *Pair) compare(state witness.State) error {
	own := Self(p.cfg.Stores[0])
	switch {
	case state.Generation <= p.generation:
		return nil
	case state.Generation == p.generation+1 && state.Winner == own:
		p.generation = state.Generation
		return nil
	}
	return fmt.Errorf("%w: generation %d, by the other side, and this one knows %d: "+
		"start it with 'belay pair secondary'", witness.ErrSuperseded, state.Generation, p.generation)
}

// Self is who a side is to the witness: its first volume.
func Self(first *checkpoint.Store) string {
	id := first.ID()
	return hex.EncodeToString(id[:])
}

// askPartner asks the partner of a pair whose witness is the operator: the operator may have had it take
// over, and nobody else knows. A primary that never had a partner needs nobody's leave. What the partner
// says of itself holds for a side that runs as a secondary or was one when it started; one that was
// started as a primary does not listen, and so it is the operator who has to answer for it.
func (p *Pair) askPartner(ctx context.Context) error {
	if p.cfg.Alone || !p.hadPartner() {
		return nil
	}
	const word = "--alone starts without asking, if the partner is dead for certain"
	if p.cfg.Peer == "" {
		return errors.New("its partner may be serving: --peer says where to ask it; " + word)
	}
	peer, err := p.visit(ctx)
	if err != nil {
		return fmt.Errorf("its partner at %s may be serving, and cannot be asked (%w); %s", p.cfg.Peer, err, word)
	}
	switch {
	case peer.Generation > p.generation:
		return fmt.Errorf("%w: its partner at %s is of generation %d, and this one knows %d: start it with "+
			"'belay pair secondary'", witness.ErrSuperseded, p.cfg.Peer, peer.Generation, p.generation)
	case peer.Generation == p.generation && peer.Was == mirror.Primary:
		return fmt.Errorf("%w: its partner at %s was the primary of generation %d, too", witness.ErrSuperseded,
			p.cfg.Peer, peer.Generation)
	}
	return nil
}

// hadPartner says whether somebody else may have what the guest was.
func (p *Pair) hadPartner() bool {
	for _, v := range p.volumes {
		if state, ok := v.Pair(); ok && state.Peer != [16]byte{} || len(v.marks()) > 0 {
			return true
		}
	}
	return false
}

// visit asks who listens at the peer's address.
func (p *Pair) visit(ctx context.Context) (mirror.Hello, error) {
	c, err := p.cfg.Transport.Dial(ctx, p.cfg.Peer)
	if err != nil {
		return mirror.Hello{}, err
	}
	return mirror.Ask(ctx, c, mirror.Config{Hello: p.hello(mirror.Visitor), Timeout: p.cfg.Times.Silence})
}
