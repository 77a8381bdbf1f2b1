package control

import (
	"context"
	"io"
	"time"

	"github.com/belay-vm/belay/internal/pairview"
)

// Volume is what the verbs of the command line ask of a volume. A Client implements it for
// a volume that another process serves. Every method may be called by several goroutines at
// once and reports failures as an *Error.
type Volume interface {
	Status(ctx context.Context) (Status, error)
	History(ctx context.Context) (History, error)

	Start(ctx context.Context, name string) (Point, error)
	Retire(ctx context.Context) (Point, error)
	Checkpoint(ctx context.Context, name string) (Point, error)
	Delete(ctx context.Context, checkpoint string) (Point, error)

	Rollback(ctx context.Context, to string) (Rollback, error)
	Undo(ctx context.Context) (Rollback, error)

	Resize(ctx context.Context, size int64, force bool) (Resized, error)

	// Check verifies everything the volume consists of. Damage is in the report; an error means
	// that the check could not be done.
	Check(ctx context.Context, p Progress) (Report, error)

	// Export hands the content of a checkpoint, or of now when at is empty, to the sink.
	Export(ctx context.Context, at string, to Sink) error

	// Dump prints the metadata for who looks for a fault: a line for each item, or with asJSON an
	// object.
	Dump(ctx context.Context, w io.Writer, asJSON bool) error

	Close() error
}

// Progress is told how far a long operation has come. Nil is allowed where one is taken.
type Progress func(done, total int64)

// Sink takes the content of a disk: first its size, then those pieces that are not all
// zeroes, in ascending order. It must not keep p.
type Sink interface {
	Begin(size int64) error
	Data(p []byte, off int64) error
}

// Point is one checkpoint.
type Point struct {
	ID       uint32    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Line     uint32    `json:"line"`
	Time     time.Time `json:"time"`
	Size     int64     `json:"size_bytes"`
	Sequence uint64    `json:"sequence"`

	// Retired is false while the point is started and not yet what a takeover returns to.
	Retired bool `json:"retired"`
	// Keep is false for a point that the next retire releases.
	Keep bool `json:"keep"`
	// Left marks the state that a rollback left behind; undo returns to it.
	Left bool `json:"left,omitempty"`

	// Frees estimates the bytes that only deleting this point would give back.
	Frees int64 `json:"frees_bytes"`
}

// Line is one branch of a volume's history.
type Line struct {
	ID uint32 `json:"id"`
	// Parent is the number of the point at which the line begins, 0 for the first line.
	Parent  uint32 `json:"parent"`
	Current bool   `json:"current,omitempty"`
}

// History is all checkpoints of a volume, in the order of their numbers, and its lines.
type History struct {
	Points []Point `json:"checkpoints"`
	Lines  []Line  `json:"lines"`
}

// Rollback is what a rollback or its undo did.
type Rollback struct {
	To     Point  `json:"to"`
	Left   Point  `json:"left"` // the state before, as a point of its own
	Line   uint32 `json:"line"` // the line that begins now
	Blocks int64  `json:"blocks_changed"`
}

// Resized is the size of a disk before and after a resize.
type Resized struct {
	Before int64 `json:"before_bytes"`
	After  int64 `json:"after_bytes"`
}

// Report is what a check went through and what it found.
type Report struct {
	Pages   int64 `json:"map_pages"`
	Records int64 `json:"death_records"`
	Blocks  int64 `json:"mapped_blocks"`
	Slots   int64 `json:"used_slots"`
	Unused  int64 `json:"unused_map_pages"`
	Data    bool  `json:"data_checked"` // the payloads' own checksums were verified too

	// Faults are the places of the damage and what is wrong there; none in a sound volume.
	Faults []string `json:"faults"`
}

// Status is the state of a volume.
type Status struct {
	UUID       string    `json:"uuid"`
	Path       string    `json:"path"`
	Data       string    `json:"data"`
	Base       string    `json:"base,omitempty"`
	Created    time.Time `json:"created"`
	Size       int64     `json:"size_bytes"`
	Checksums  bool      `json:"checksums"`
	Generation uint64    `json:"generation"`
	Epoch      uint32    `json:"epoch"`
	Line       uint32    `json:"line"`
	Sequence   uint64    `json:"sequence"`

	Space   Space   `json:"space"`
	Journal Journal `json:"journal"`
	Work    Work    `json:"work"`

	Points    int `json:"checkpoints"`
	Unretired int `json:"unretired"`

	// Background is what the store does on its own at the moment: idle, snapshot, sweep, trim,
	// replay or space.
	Background string `json:"background"`
	// Error is why the volume takes no writes until it is reopened, or what failed last in the
	// background.
	Error string `json:"error,omitempty"`

	// Server is nil for a volume that nobody serves.
	Server *Serving `json:"server,omitempty"`
	// Pair is nil for a volume that belongs to no pair.
	Pair *pairview.Status `json:"pair,omitempty"`
}

// Space says where a volume's bytes are.
type Space struct {
	Used      int64 `json:"used_bytes"`    // live data and what checkpoints retain
	Limbo     int64 `json:"limbo_bytes"`   // given up, not free yet
	Free      int64 `json:"free_bytes"`    // in the data area, ready for reuse
	Punched   int64 `json:"punched_bytes"` // of Free, given back to the file system
	Slack     int64 `json:"slack_bytes"`   // what may be neither live nor retained
	Data      int64 `json:"data_bytes"`    // length of the data area
	Map       int64 `json:"map_bytes"`     // length of the map file
	MapMemory int64 `json:"map_memory_bytes"`
	Memory    int64 `json:"memory_bytes"`    // of map, counts and checksums
	Allocated int64 `json:"allocated_bytes"` // that the files take on the host
}

// Work is what a store has done since it was opened.
type Work struct {
	Flushes   uint64 `json:"flushes"`
	Quick     uint64 `json:"quick_flushes"`
	Snapshots uint64 `json:"snapshots"`
	Bounced   uint64 `json:"bounced"`  // requests whose data was copied
	Remerged  uint64 `json:"remerged"` // partial writes done again
	Punched   uint64 `json:"punched_bytes"`
	BadSums   uint64 `json:"bad_checksums"`
}

// Journal says how full the journal is.
type Journal struct {
	Used int64 `json:"used_bytes"`
	Size int64 `json:"size_bytes"`
}

// Serving is what only a serving process knows.
type Serving struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`
	Socket    string    `json:"socket,omitempty"`
	Queues    int       `json:"queues"`
	Engine    string    `json:"engine"`
	ReadOnly  bool      `json:"read_only"`
	Connected bool      `json:"connected"` // a front end is connected
	Sessions  uint64    `json:"sessions"`  // front ends so far
}
