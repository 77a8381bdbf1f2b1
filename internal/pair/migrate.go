package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/qmp"
)

// startColo starts the migration that becomes COLO, and sees whether it does.
func (p *Pair) startColo() {
	if err := p.migrate(); err != nil {
		p.log.Error("COLO cannot be started", "error", err)
		p.status.problem(err)
		p.post(colo.MigrationFailed{Why: err.Error()})
	}
}

func (p *Pair) migrate() error {
	c, err := p.qemu.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
	defer cancel()
	err = c.SetCapabilities(ctx, qmp.Capability{Name: qmp.CapabilityColo, State: true})
	if err == nil && p.cfg.Delay > 0 {
		err = c.SetCheckpointDelay(ctx, p.cfg.Delay)
	}
	if err == nil {
		err = c.Migrate(ctx, p.cfg.MigrateURI)
	}
	if err != nil {
		return err
	}
	return p.awaitColo(c)
}

// awaitColo looks whether the migration ends in COLO. It has all the time that the memory takes.
func (p *Pair) awaitColo(c *qmp.Client) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
		m, err := c.QueryMigrate(ctx)
		cancel()
		switch {
		case p.ctx.Err() != nil || c.Err() != nil:
			return nil // that is told otherwise
		case err != nil && !errors.Is(err, qmp.ErrTimeout):
			return err
		case m.Status == qmp.MigrationColo:
			p.log.Info("COLO runs")
			return nil
		case m.Status == qmp.MigrationFailed, m.Status == qmp.MigrationCancelled,
			m.Status == qmp.MigrationCompleted:
			return fmt.Errorf("the migration to %s: %s %s", p.cfg.MigrateURI, m.Status, m.ErrorDesc)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return nil
		case <-c.Done():
			return nil
		}
	}
}
