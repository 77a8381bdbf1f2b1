// Package pairview has the words in which a side of a mirrored pair tells people and machines about
// itself. Package pair fills them in, package control carries them.
package pairview

import "time"

// Status is what a side of a pair tells of itself, or, of a volume that nobody serves, what it knows
// durably.
type Status struct {
	Name       string `json:"name"`
	Role       string `json:"role"`  // primary or secondary
	State      string `json:"state"` // waiting, syncing, protected, alone, ...; see Stopped
	Generation uint64 `json:"generation"`
	Epoch      int64  `json:"epoch"` // the newest that both sides have made current; -1: none
	Peer       bool   `json:"peer_connected"`
	Monitor    bool   `json:"monitor_connected"`

	// LagBytes were sent and not taken by the secondary yet, LagMs ago at most.
	LagBytes int64   `json:"lag_bytes"`
	LagMs    float64 `json:"lag_ms"`

	Sent Sent `json:"sent"` // of a primary, by its process

	Sync  *Sync  `json:"sync,omitempty"`
	Pause *Pause `json:"last_pause,omitempty"`

	Problem   string    `json:"problem,omitempty"`   // the last one, until it is over
	Unguarded string    `json:"unguarded,omitempty"` // why nobody would end QEMU if this side's belay was killed
	Checks    []Finding `json:"checks,omitempty"`    // of the QEMU that is connected

	// Of a volume that nobody serves: the newest checkpoint that it has whole of those that both sides
	// had, and when it or the pair's mark was last written.
	Common  string     `json:"common_checkpoint,omitempty"`
	At      *time.Time `json:"common_checkpoint_time,omitempty"`
	Changed *time.Time `json:"changed,omitempty"`
}

// What a Status says of a volume that nobody serves.
const (
	Stopped  = "stopped"  // it may go on in its role
	Poisoned = "poisoned" // it must be synchronised anew
	Syncing  = "syncing"  // so must this: it is between two states
)

// Sent is content that a primary has sent, in bytes, by the way that it went: carried by the kernel from the
// data file to the socket, or read and written by belay.
type Sent struct {
	Carried uint64 `json:"carried_bytes"`
	Read    uint64 `json:"read_bytes"`
}

// Sync is how far the synchronisation of a disk is.
type Sync struct {
	Disk  int    `json:"disk"`
	Sent  uint64 `json:"sent_bytes"`
	Total int64  `json:"total_bytes"`
}

// Pause is the last checkpoint's pause of the primary, in its parts, as far as belay sees them.
type Pause struct {
	Drain       float64 `json:"drain_ms"`       // requests under way are finished
	Tail        float64 `json:"tail_ms"`        // the rest of the epoch is sent
	Acknowledge float64 `json:"acknowledge_ms"` // the secondary says that it has it
	QEMU        float64 `json:"qemu_ms"`        // memory and devices, until the rings start again
}

// Result says how a condition of a pair is met.
type Result string

// The results.
const (
	OK      Result = "ok"
	Missing Result = "missing" // the pair would fail
	Unknown Result = "unknown" // it cannot be told now
	Note    Result = "note"    // it works, but somebody should know
)

// Finding is one condition of a pair, and whether it is met.
type Finding struct {
	What   string `json:"what"` // one word or two: machine, memory, peer, ...
	Result Result `json:"result"`
	Says   string `json:"says"`         // what was found
	Do     string `json:"do,omitempty"` // what to do about it
}

func (f Finding) String() string {
	text := f.What + ": " + f.Says
	if f.Do != "" {
		text += "; " + f.Do
	}
	return text
}
