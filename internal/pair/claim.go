package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror/witness"
)

// ask asks the witness for a claim until it answers, or until something else is asked.
func (p *Pair) ask(c colo.Claim) {
	p.forgo()
	ctx, cancel := context.WithCancel(p.ctx)
	p.question = cancel
	generation := p.generation
	p.log.Info("the witness is asked", "claim", claimName(c), "generation", generation)
	p.work.Go(func() {
		for last := ""; ctx.Err() == nil; {
			won, now, err := p.claim(ctx, c, generation)
			if err == nil {
				p.run(func() { p.answered(ctx, c, won, now) })
				return
			}
			if err.Error() != last {
				p.log.Warn("the witness has not decided", "claim", claimName(c), "reason", err)
				last = err.Error()
			}
			p.run(func() { p.unanswered(ctx, c) })
			select {
			case <-time.After(p.cfg.Times.again()):
			case <-p.decided:
			case <-ctx.Done():
			}
		}
	})
}

func claimName(c colo.Claim) string {
	return map[colo.Claim]string{
		colo.ClaimPair: "pair", colo.ClaimAlone: "alone", colo.ClaimTakeOver: "take over",
	}[c]
}

// forgo stops asking.
func (p *Pair) forgo() {
	if p.question != nil {
		p.question()
		p.question = nil
	}
}

// claim asks once, and returns the generation that this side has then. Won is durable here before it is
// told.
func (p *Pair) claim(ctx context.Context, c colo.Claim, generation uint64) (won bool, now uint64, err error) {
	w := p.cfg.Witness
	if c == colo.ClaimPair {
		won, err = p.register(ctx, generation)
		return won, generation, err
	}
	_, err = w.Win(ctx, generation)
	switch {
	case errors.Is(err, witness.ErrSuperseded):
		return false, generation, nil
	case errors.Is(err, witness.ErrUnknownPair):
		return false, generation, fmt.Errorf("%w, which was registered: it has forgotten", err)
	case err != nil:
		return false, generation, err
	}
	now = wonFrom(ctx, w, generation)
	if !p.cfg.on(ruleClaimDurable) {
		return true, now, nil
	}
	err = updateAll(p.volumes, func(s *checkpoint.PairState) {
		s.Pair, s.Role, s.Generation = p.cfg.Name, checkpoint.RolePrimary, now
		s.Why = ""
	})
	return err == nil, now, err
}

// wonFrom is the generation that was won from one. Where the operator is the witness not all numbers are
// this side's to win.
func wonFrom(ctx context.Context, w witness.Witness, generation uint64) uint64 {
	if m, ok := w.(*witness.Manual); ok {
		if state, err := m.State(ctx); err == nil { // always
			return state.Generation
		}
	}
	return generation + 1
}

// register makes the witness know that this side serves in the generation, and lets go of a lease that
// the other side would have to wait for.
func (p *Pair) register(ctx context.Context, generation uint64) (won bool, err error) {
	err = p.cfg.Witness.Register(ctx, generation)
	if errors.Is(err, witness.ErrSuperseded) {
		return false, nil
	}
	if err == nil {
		err = p.cfg.Witness.Resign(ctx)
	}
	return err == nil, err
}

// answered gives the witness's answer to the machine, unless nobody asks any more.
func (p *Pair) answered(ctx context.Context, c colo.Claim, won bool, now uint64) {
	if ctx.Err() != nil {
		return
	}
	p.log.Info("the witness has answered", "claim", claimName(c), "won", won)
	if !won {
		p.take(colo.Lost{Claim: c})
		return
	}
	p.generation = now
	p.take(colo.Won{Claim: c})
}

func (p *Pair) unanswered(ctx context.Context, c colo.Claim) {
	if ctx.Err() == nil {
		p.take(colo.Unreachable{Claim: c})
	}
}

// decide passes on to a witness that is the operator what he said, or what the other side's own word
// stands for.
func (p *Pair) decide() {
	if m, ok := p.cfg.Witness.(interface{ Decide() }); ok {
		m.Decide()
	}
	select {
	case p.decided <- struct{}{}:
	default:
	}
}
