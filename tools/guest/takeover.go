package guest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// answerTime is how long a guest may take for a command that does nothing. It is asked again then, as the
// question may be lost, and given twice the time: a guest under load is slow, and answers only once.
const answerTime = 2 * time.Second

// TakeOver waits until a guest that came from elsewhere takes commands here. It must not be
// called before the guest runs here for good: what is said to a COLO secondary's guest is
// undone by the next checkpoint.
func (vm *VM) TakeOver(ctx context.Context) error {
	// The guest may be in the middle of a line that was said to it at its old place.
	if err := vm.agent.endLine(); err != nil {
		return vm.explain(err)
	}
	for limit := answerTime; ; limit *= 2 {
		once, cancel := context.WithTimeout(ctx, limit)
		_, err := vm.agent.run(once, ":")
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return vm.explain(fmt.Errorf("waiting for the guest to answer at its new place: %w", err))
		}
	}
}

func (a *agent) endLine() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.conn.Write([]byte("\n"))
	return err
}
