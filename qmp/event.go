package qmp

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names of QEMU's events that a pair acts on (qapi/run-state.json, qapi/migration.json).
const (
	EventStop      = "STOP"      // the vCPUs and devices are stopped; sent after the rings' stop
	EventResume    = "RESUME"    // they run; sent before the rings' start
	EventColoExit  = "COLO_EXIT" // data: ColoExit
	EventShutdown  = "SHUTDOWN"  // data: Shutdown
	EventReset     = "RESET"     // data: Reset
	EventPowerdown = "POWERDOWN" // the guest was asked to switch itself off
	EventMigration = "MIGRATION" // data: MigrationEvent; needs the capability "events"
)

// Names of events that are ours, not QEMU's. QEMU's names are in upper case.
const (
	// EventBarrier stands where the answer to a barrier stood in the stream: whatever QEMU
	// raised before it answered has been delivered before. See Link.Barrier.
	EventBarrier = "barrier"
	// EventConnected begins the stream of one connection of a Watcher.
	EventConnected = "connected"
	// EventLost ends it. Events may be missing between it and the next EventConnected.
	EventLost = "lost"
)

// Event is something that QEMU told unasked, or one of our own in the same order.
type Event struct {
	Name string
	// At is QEMU's own host clock, in microseconds; zero if it had none, and for ours.
	At time.Time
	// Data is a JSON object, nil if the event has none. Decode looks into it.
	Data json.RawMessage

	Mark   uint64  // of EventBarrier: what Barrier returned
	Client *Client // of EventConnected
	Cause  error   // of EventLost
}

// Decode unpacks the event's data into v. Members that v does not have are passed over, since
// later versions of QEMU add some.
func (e Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return fmt.Errorf("%w: event %.40q without data", ErrFault, e.Name)
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("%w: event %.40q: %w", ErrFault, e.Name, err)
	}
	return nil
}

// ColoExit is the data of COLO_EXIT: this side has left COLO.
type ColoExit struct {
	Mode   string `json:"mode"`   // ColoPrimary or ColoSecondary
	Reason string `json:"reason"` // ColoRequest or ColoError
}

// Modes and reasons of COLO (qapi/migration.json: COLOMode, COLOExitReason).
const (
	ColoNone       = "none" // of both
	ColoPrimary    = "primary"
	ColoSecondary  = "secondary"
	ColoRequest    = "request" // x-colo-lost-heartbeat
	ColoError      = "error"   // the peer, or the way there, failed
	ColoProcessing = "processing"
)

// Shutdown is the data of SHUTDOWN: the machine is switched off. QEMU then ends, unless it
// runs with -no-shutdown.
type Shutdown struct {
	Guest  bool   `json:"guest"`  // the guest did it, not the host
	Reason string `json:"reason"` // for example guest-shutdown, host-qmp-quit, host-signal
}

// Reset is the data of RESET.
type Reset struct {
	Guest  bool   `json:"guest"`
	Reason string `json:"reason"`
}

// MigrationEvent is the data of MIGRATION.
type MigrationEvent struct {
	Status string `json:"status"` // a MigrationStatus, for example MigrationColo
}
