package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync/atomic"
	"time"
)

// checkpointer runs a command every so often while the workers count.
type checkpointer struct {
	job   *job
	count atomic.Int64
	stop  chan struct{}
	ended chan struct{}
}

func (j *job) checkpoints() *checkpointer {
	c := &checkpointer{job: j, stop: make(chan struct{}), ended: make(chan struct{})}
	if j.o.checkpointEvery == 0 {
		close(c.ended)
		return c
	}
	go c.main()
	return c
}

// main begins with the counting. A command that takes longer than the interval is followed by
// the next one at once.
func (c *checkpointer) main() {
	defer close(c.ended)
	begin := time.After(c.job.o.ramp)
	select {
	case <-begin:
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
		c.count.Add(1)
	}
}

func (c *checkpointer) take() error {
	out, err := exec.Command("sh", "-c", c.job.o.checkpoint).CombinedOutput()
	if err != nil {
		return fmt.Errorf("checkpoint command: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// close waits for the command that runs and returns how many there were.
func (c *checkpointer) close() int64 {
	close(c.stop)
	<-c.ended
	return c.count.Load()
}
