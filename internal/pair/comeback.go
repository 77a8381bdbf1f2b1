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
	if _, operator := p.cfg.Witness.(*witness.Manual); operator || p.secondary || !p.markedNow() {
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

// markedNow says whether there is a mark of the generation: a pair was made in it.
func (p *Pair) markedNow() bool {
	for _, v := range p.volumes {
		for _, m := range v.marks() {
			if m.mark.Generation >= p.generation {
				return true
			}
		}
	}
	return false
}

// winNext wins the next generation before the loop runs, as soon as the witness answers.
func (p *Pair) winNext(ctx context.Context) error {
	for last := ""; ; {
		known, err := p.register(ctx, p.generation)
		won, now := false, p.generation
		if err == nil && known {
			won, now, err = p.claim(ctx, colo.ClaimAlone, p.generation)
		}
		switch {
		case err == nil && won:
			p.generation = now
			return nil
		case err == nil:
			if err := p.MayServe(ctx); err != nil {
				return err // it says who
			}
			return witness.ErrSuperseded
		case err.Error() != last:
			p.log.Warn("waiting for the witness", "reason", err)
			last = err.Error()
		}
		select {
		case <-time.After(p.cfg.Times.again()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
