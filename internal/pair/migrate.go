package pair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/qmp"
)

// startColo starts the migration that becomes COLO, and sees whether it does.
func (p *Pair) startColo() {
	if err := p.qemu.migrate(p.ctx, p.cfg.Delay, p.cfg.MigrateURI, host(p.cfg.Peer)); err != nil {
		p.log.Error("COLO cannot be started", "error", err)
		p.status.problem(err)
		p.post(colo.MigrationFailed{Why: err.Error()})
	}
}

// migrate starts it. It returns when COLO runs, or when it does not become that.
func (q *qemu) migrate(ctx context.Context, delay time.Duration, uri, peer string) error {
	c, err := q.current()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	err = c.SetCapabilities(bounded, qmp.Capability{Name: qmp.CapabilityColo, State: true})
	if err == nil {
		err = q.cards.connect(bounded, c, peer)
	}
	if err == nil && delay > 0 {
		err = c.SetCheckpointDelay(bounded, delay)
	}
	if err == nil {
		err = c.Migrate(bounded, uri)
	}
	if err != nil {
		return err
	}
	return q.awaitColo(ctx, c, uri)
}

// lookAgain is the pause between looks at a migration.
const lookAgain = 500 * time.Millisecond

// awaitColo looks whether the migration ends in COLO. It has all the time that the memory takes.
func (q *qemu) awaitColo(ctx context.Context, c *qmp.Client, uri string) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, heartbeatTimeout)
		m, err := c.QueryMigrate(bounded)
		cancel()
		switch {
		case ctx.Err() != nil || c.Err() != nil:
			return nil // that is told otherwise
		case err != nil && !errors.Is(err, qmp.ErrTimeout):
			return err
		case m.Status == qmp.MigrationColo:
			q.log.Info("COLO runs")
			return q.compare(ctx) // the guest may have no disk that starts
		case m.Status == qmp.MigrationFailed, m.Status == qmp.MigrationCancelled,
			m.Status == qmp.MigrationCompleted:
			return fmt.Errorf("the migration to %s: %s %s", uri, m.Status, m.ErrorDesc)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return nil
		}
	}
}

// compareCards has packets compared from now on. A pair whose packets cannot be is none.
func (p *Pair) compareCards() bool {
	err := p.qemu.compare(p.ctx)
	if err != nil {
		p.log.Error("packets cannot be compared", "error", err)
		p.status.problem(err)
		p.post(colo.MigrationFailed{Why: err.Error()})
	}
	return err == nil
}

// host is that of HOST:PORT.
func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}
