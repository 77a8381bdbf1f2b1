package pair

import (
	"context"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror/witness"
)

// ComeBack is for a primary that may serve, but whose process ended while it was one of a pair. The partner
// may be about to take over, and has the guest's memory, which is lost here: so it goes first, and this
// side waits for longer than any promise to it can last. Then it wins the next generation, so that the
// partner cannot take over any more, and may serve. It is to be called before a front end may connect.
//
// Where the operator is the witness nobody takes over by himself, and nothing is waited for.
func (p *Pair) ComeBack(ctx context.Context) error {
	if _, operator := p.cfg.Witness.(*witness.Manual); operator || p.secondary ||
		!marked(p.volumes, p.generation) {
		return nil
	}
	wait := p.cfg.Times.Promise + 2*p.cfg.Times.Silence
	p.log.Info("the partner may be about to take over: it has time to do so", "wait", wait)
	over := time.After(wait)
	for waits := true; waits; {
		select {
		case <-over:
			waits = false
		case <-time.After(p.cfg.Times.again()):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.MayServe(ctx); err != nil {
			return err
		}
	}
	return p.winNext(ctx)
}

// winNext wins the next generation before the loop runs, as soon as the witness answers.
func (p *Pair) winNext(ctx context.Context) error {
	won, now := false, p.generation
	err := p.untilAnswered(ctx, "waiting for the witness", func() error {
		known, err := p.register(ctx, p.generation)
		if err == nil && known {
			won, now, err = p.claim(ctx, colo.ClaimAlone, p.generation)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !won {
		if err := p.MayServe(ctx); err != nil {
			return err // it says who
		}
		return witness.ErrSuperseded
	}
	p.generation = now
	return nil
}
