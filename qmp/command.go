package qmp

import (
	"context"
	"fmt"
	"time"
)

// Status is query-status's answer.
type Status struct {
	Running bool   `json:"running"`
	Status  string `json:"status"` // a RunState
}

// Some of QEMU's run states (qapi/run-state.json: RunState).
const (
	StatusRunning      = "running"
	StatusPaused       = "paused"      // by stop
	StatusPrelaunch    = "prelaunch"   // -S, never started
	StatusInMigrate    = "inmigrate"   // -incoming, nothing came yet
	StatusPostMigrate  = "postmigrate" // the machine went elsewhere
	StatusFinishMig    = "finish-migrate"
	StatusColo         = "colo"     // stopped for a checkpoint
	StatusShutdown     = "shutdown" // switched off, with -no-shutdown
	StatusInternalFail = "internal-error"
)

// QueryStatus tells whether the machine runs.
func (c *Client) QueryStatus(ctx context.Context) (s Status, err error) {
	return s, c.Execute(ctx, "query-status", nil, &s)
}

// Stop stops the machine. On a side under COLO only COLO may.
func (c *Client) Stop(ctx context.Context) error { return c.Execute(ctx, "stop", nil, nil) }

// Cont starts the machine. On a side under COLO only COLO may.
func (c *Client) Cont(ctx context.Context) error { return c.Execute(ctx, "cont", nil, nil) }

// Quit ends QEMU. The answer may be lost with it: ErrGone is success.
func (c *Client) Quit(ctx context.Context) error { return c.Execute(ctx, "quit", nil, nil) }

// Powerdown asks the guest to switch itself off, as its power button does.
func (c *Client) Powerdown(ctx context.Context) error {
	return c.Execute(ctx, "system_powerdown", nil, nil)
}

// Capability is one of migration's (qapi/migration.json: MigrationCapabilityStatus).
type Capability struct {
	Name  string `json:"capability"`
	State bool   `json:"state"`
}

// Capabilities of migration.
const (
	CapabilityColo   = "x-colo"
	CapabilityEvents = "events" // MIGRATION is sent only with it
)

// QueryCapabilities lists the capabilities of migration that this QEMU has.
func (c *Client) QueryCapabilities(ctx context.Context) (list []Capability, err error) {
	return list, c.Execute(ctx, "query-migrate-capabilities", nil, &list)
}

// SetCapabilities switches capabilities of migration.
func (c *Client) SetCapabilities(ctx context.Context, list ...Capability) error {
	args := struct {
		Capabilities []Capability `json:"capabilities"`
	}{list}
	return c.Execute(ctx, "migrate-set-capabilities", args, nil)
}

// SetCheckpointDelay sets how long the primary waits from one checkpoint to the next, in whole
// milliseconds. QEMU takes it while COLO runs, too.
func (c *Client) SetCheckpointDelay(ctx context.Context, delay time.Duration) error {
	if delay < time.Millisecond || delay.Milliseconds() > 1<<32-1 {
		return fmt.Errorf("checkpoint delay %v: from 1ms to %dms", delay, uint32(1<<32-1))
	}
	args := struct {
		DelayMs int64 `json:"x-checkpoint-delay"`
	}{delay.Milliseconds()}
	return c.Execute(ctx, "migrate-set-parameters", args, nil)
}

// Migrate begins to send the machine to uri, such as tcp:10.0.0.2:9998; with CapabilityColo on
// both sides COLO begins behind it. It returns when it has begun, not when it is done.
func (c *Client) Migrate(ctx context.Context, uri string) error {
	args := struct {
		URI string `json:"uri"`
	}{uri}
	return c.Execute(ctx, "migrate", args, nil)
}

// MigrateIncoming has a QEMU that was started with -incoming defer listen on uri.
func (c *Client) MigrateIncoming(ctx context.Context, uri string) error {
	args := struct {
		URI string `json:"uri"`
	}{uri}
	return c.Execute(ctx, "migrate-incoming", args, nil)
}

// MigrateCancel gives up a migration that is under way.
func (c *Client) MigrateCancel(ctx context.Context) error {
	return c.Execute(ctx, "migrate_cancel", nil, nil)
}

// MigrationInfo is what of query-migrate's answer a pair looks at.
type MigrationInfo struct {
	Status    string        `json:"status"` // a MigrationStatus; empty if there never was one
	ErrorDesc string        `json:"error-desc"`
	RAM       *MigrationRAM `json:"ram"` // nil before memory is sent
}

// MigrationRAM is how far the guest's memory has got, in bytes.
type MigrationRAM struct {
	Transferred int64 `json:"transferred"`
	Remaining   int64 `json:"remaining"`
	Total       int64 `json:"total"`
}

// Some of the states of a migration (qapi/migration.json: MigrationStatus).
const (
	MigrationNone      = "none"
	MigrationSetup     = "setup"
	MigrationActive    = "active"
	MigrationDevice    = "device"
	MigrationColo      = "colo"
	MigrationCompleted = "completed"
	MigrationFailed    = "failed"
	MigrationCancelled = "cancelled"
)

// QueryMigrate tells how the migration goes.
func (c *Client) QueryMigrate(ctx context.Context) (m MigrationInfo, err error) {
	return m, c.Execute(ctx, "query-migrate", nil, &m)
}

// LostHeartbeat tells this side of COLO that the other is gone: it leaves COLO and goes on
// alone. On the primary it stops the machine once more. It may hang behind a read from the
// peer; YankMigration first.
func (c *Client) LostHeartbeat(ctx context.Context) error {
	return c.Execute(ctx, "x-colo-lost-heartbeat", nil, nil)
}

// ColoStatus is query-colo-status's answer.
type ColoStatus struct {
	Mode     string `json:"mode"`      // ColoNone outside COLO
	LastMode string `json:"last-mode"` // of what was left
	Reason   string `json:"reason"`    // of leaving
}

// QueryColo tells whether QEMU is under COLO, and how it left it.
func (c *Client) QueryColo(ctx context.Context) (s ColoStatus, err error) {
	return s, c.Execute(ctx, "query-colo-status", nil, &s)
}

// YankInstance is a connection of QEMU's that can be cut (qapi/yank.json).
type YankInstance struct {
	Type string `json:"type"`                // YankMigration, chardev or block-node
	ID   string `json:"id,omitempty"`        // of a chardev
	Node string `json:"node-name,omitempty"` // of a block-node
}

// YankMigration is the type of the migration's connections.
const YankMigration = "migration"

type yankArgs struct {
	Instances []YankInstance `json:"instances"`
}

// QueryYank lists what can be cut. The migration is listed while it has a connection, and on a
// side that listens for it.
func (c *Client) QueryYank(ctx context.Context) (list []YankInstance, err error) {
	return list, c.Execute(ctx, "query-yank", nil, &list)
}

// YankMigration cuts the migration's connections, out of band: it works while QEMU's
// big lock is held. It ends COLO on both sides. Nothing else is cut; the disk's chardev could be,
// and must not.
func (c *Client) YankMigration(ctx context.Context) error {
	return c.ExecuteOOB(ctx, "yank", yankArgs{[]YankInstance{{Type: YankMigration}}}, nil)
}
