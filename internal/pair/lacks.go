package pair

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/internal/preflight"
)

// ErrLacks is for a QEMU that cannot be one of a pair as it is.
var ErrLacks = errors.New("QEMU cannot be one of a pair")

// lacks asks a QEMU for what a pair needs of it, before anything depends on that: QEMU's own refusal would
// come in the middle of COLO, and say less.
func (p *Pair) lacks(ctx context.Context, secondary bool) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	found := p.qemu.look(ctx, secondary)
	p.status.checked(found)
	var says []string
	for _, f := range preflight.Lacks(found) {
		says = append(says, f.String())
	}
	if len(says) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrLacks, strings.Join(says, " | "))
}

// look asks the QEMU that there is; without one there is nothing to tell.
func (q *qemu) look(ctx context.Context, secondary bool) []pairview.Finding {
	c, err := q.current()
	if err != nil {
		return nil
	}
	return preflight.QEMU(ctx, c, secondary)
}
