package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/belay-vm/belay/internal/control"
)

// checkpointer takes a checkpoint every so often while the workers count.
type checkpointer struct {
	job   *job
	take  func() error
	free  func() error
	count int64
	stop  chan struct{}
	ended chan struct{}
}

// checkpoints starts taking them if that is asked for.
func (j *job) checkpoints() (*checkpointer, error) {
	c := &checkpointer{job: j, stop: make(chan struct{}), ended: make(chan struct{})}
	c.take, c.free = func() error { return command(j.o.checkpoint) }, func() error { return nil }
	switch {
	case j.o.checkpointEvery == 0:
		close(c.ended)
		return c, nil
	case j.o.checkpointVolume != "":
		v, err := control.Dial(j.o.checkpointVolume)
		if err != nil {
			return nil, fmt.Errorf("checkpoints of %s: %w", j.o.checkpointVolume, err)
		}
		c.take, c.free = func() error { return ask(v) }, v.Close
	}
	go c.main()
	return c, nil
}

// main begins with the counting. Taking one that lasts longer than the interval is followed by
// the next one at once.
func (c *checkpointer) main() {
	defer close(c.ended)
	ramp := time.NewTimer(c.job.o.ramp)
	defer ramp.Stop()
	select {
	case <-ramp.C:
	case <-c.stop:
		return
	}
	ticks := time.NewTicker(c.job.o.checkpointEvery)
	defer ticks.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticks.C:
		}
		if err := c.take(); err != nil {
			c.job.stop(err)
			return
		}
		c.count++
	}
}

// command runs a shell command.
func command(line string) error {
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("checkpoint command: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// ask takes a checkpoint of a volume that belay serves. Without a process of its own for each it
// takes no processor time from the load.
func ask(v control.Volume) error {
	if _, err := v.Checkpoint(context.Background(), ""); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// close waits for the one that is being taken and returns how many there were.
func (c *checkpointer) close() (int64, error) {
	close(c.stop)
	<-c.ended
	return c.count, c.free()
}
