package pair

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/mirror/witness"
)

// MayServe asks the witness whether this side may serve as the primary at all: while it was away the
// other side may have won, and its guest lives there now. As long as the witness does not answer nobody
// knows, so it waits. It is to be asked before a front end may connect.
func (p *Pair) MayServe(ctx context.Context) error {
	if p.secondary {
		return nil
	}
	for last := ""; ; {
		state, err := p.cfg.Witness.State(ctx)
		switch {
		case err == nil:
			return p.compare(state)
		case errors.Is(err, witness.ErrUnknownPair):
			return nil // nobody has ever taken over
		case err.Error() != last:
			p.log.Warn("waiting for the witness: the other side may be serving", "reason", err)
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
	id := p.volumes[0].ID()
	own := hex.EncodeToString(id[:])
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
