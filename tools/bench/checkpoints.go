package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/tools/bench/report"
)

// checkpointer starts a checkpoint every so often and retires it, through the control socket, as
// whoever replicates a guest does: without a name, so that the next one releases it.
type checkpointer struct {
	volume  *control.Client
	stop    context.CancelFunc
	ended   chan struct{}
	retires []time.Duration // valid after ended
	err     error           // valid after ended
}

func takeCheckpoints(ctx context.Context, volume *control.Client, every time.Duration) *checkpointer {
	ctx, stop := context.WithCancel(ctx)
	c := &checkpointer{volume: volume, stop: stop, ended: make(chan struct{})}
	go c.main(ctx, every)
	return c
}

// main ends with a retire, never between the two.
func (c *checkpointer) main(ctx context.Context, every time.Duration) {
	defer close(c.ended)
	tick := time.NewTicker(every)
	defer tick.Stop()
	whole := context.WithoutCancel(ctx)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, c.err = c.volume.Start(whole, ""); c.err != nil {
			return
		}
		begun := time.Now()
		if _, c.err = c.volume.Retire(whole); c.err != nil {
			return
		}
		c.retires = append(c.retires, time.Since(begun))
	}
}

// end stops taking checkpoints and deletes the one that is left, since a disk without any is what
// all other entries measure. It returns what there is to report; of no checkpointer, nothing.
func (c *checkpointer) end(ctx context.Context) (values, error) {
	if c == nil {
		return nil, nil
	}
	c.stop()
	<-c.ended
	if c.err != nil {
		return nil, fmt.Errorf("checkpoint: %w", c.err)
	}
	if len(c.retires) == 0 {
		return nil, errors.New("the load was over before the first checkpoint")
	}
	history, err := c.volume.History(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range history.Points {
		if _, err := c.volume.Delete(ctx, fmt.Sprint(p.ID)); err != nil {
			return nil, fmt.Errorf("delete checkpoint %d: %w", p.ID, err)
		}
	}
	slices.Sort(c.retires)
	return values{
		report.Checkpoints: float64(len(c.retires)),
		report.RetireP50:   us(c.retires[len(c.retires)/2].Nanoseconds()),
	}, nil
}
