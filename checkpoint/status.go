package checkpoint

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stats counts what a store does. Anyone may read them at any time.
type stats struct {
	flushes   atomic.Uint64 // rounds that reached the disk
	quick     atomic.Uint64 // flushes that needed no round
	recalled  atomic.Uint64 // blocks that recovery found by intents
	snapshots atomic.Uint64
	bounced   atomic.Uint64 // windows whose data was copied
	remerged  atomic.Uint64 // merges done again because another write came between
	punched   atomic.Uint64 // bytes
	badSums   atomic.Uint64
}

// Status describes an open store. Sizes are in bytes.
type Status struct {
	ID         string    `json:"id"`
	Size       int64     `json:"size"`
	Created    time.Time `json:"created"`
	ReadOnly   bool      `json:"read_only"`
	Generation uint64    `json:"generation"` // raised by every takeover
	Epoch      uint32    `json:"epoch"`
	Line       uint32    `json:"line"`
	Sequence   uint64    `json:"sequence"`
	Points     int       `json:"points"`
	Unretired  int       `json:"unretired"` // points that wait for their retire
	Checksums  bool      `json:"checksums"`
	Base       string    `json:"base,omitempty"`
	Data       string    `json:"data,omitempty"` // the device, if it is one

	Used     int64 `json:"used"`      // live and retained data
	Limbo    int64 `json:"limbo"`     // given up, not free yet
	Free     int64 `json:"free"`      // free places in the data area
	Punched  int64 `json:"punched"`   // of those, given back to the file system
	DataArea int64 `json:"data_area"` // length of the data area
	Slack    int64 `json:"slack"`     // what may be neither live nor retained

	JournalUsed int64 `json:"journal_used"`
	JournalSize int64 `json:"journal_size"`
	MapSize     int64 `json:"map_size"`   // of the map file
	MapMemory   int64 `json:"map_memory"` // of the block map in memory
	Memory      int64 `json:"memory"`     // of map, counts and checksums in memory

	Flushes      uint64 `json:"flushes"`
	QuickFlushes uint64 `json:"quick_flushes"` // not among them
	Snapshots    uint64 `json:"snapshots"`
	Bounced      uint64 `json:"bounced"`
	Remerged     uint64 `json:"remerged"`
	BytesPunched uint64 `json:"bytes_punched"`
	BadSums      uint64 `json:"bad_checksums"`
	Background   string `json:"background"`      // what goes on: idle, snapshot, sweep, trim, space, replay
	Error        string `json:"error,omitempty"` // why it takes no writes, or the last background fault
}

// Status returns what the store is and does.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.slots.usage()
	st := Status{
		ID: fmt.Sprintf("%x", s.super.id), Size: s.size, Created: time.Unix(0, s.super.created),
		ReadOnly: s.opts.ReadOnly, Generation: uint64(s.super.generation), Epoch: uint32(s.epoch),
		Line: uint32(s.line), Sequence: uint64(s.seq), Points: len(s.points), Unretired: len(s.waiting()),
		Checksums: s.checksums, Base: s.super.basePath, Data: s.super.dataPath,
		Used: int64(u.referenced) * blockSize, Limbo: int64(s.limbo.blocks+s.trims.n) * blockSize,
		Free: int64(u.free) * blockSize, Punched: int64(u.cold) * blockSize,
		DataArea: int64(u.total) * blockSize, Slack: int64(s.slack()) * blockSize,
		JournalUsed: int64(s.journal.used()), JournalSize: int64(s.journal.room()),
		MapSize: int64(s.pages.length()) * pageSize, MapMemory: s.blocks.memory(), Memory: s.mem.used(),
		Flushes: s.stats.flushes.Load(), QuickFlushes: s.stats.quick.Load(),
		Snapshots: s.stats.snapshots.Load(),
		Bounced:   s.stats.bounced.Load(), Remerged: s.stats.remerged.Load(),
		BytesPunched: s.stats.punched.Load(), BadSums: s.stats.badSums.Load(),
		Background: s.activity(),
	}
	if err := s.poisoned(); err != nil {
		st.Error = err.Error()
	} else if err := s.background.fault(u.free > 0); err != nil {
		st.Error = err.Error()
	}
	return st
}

// activity names the most urgent background work that waits or runs.
func (s *Store) activity() string {
	_, sweeping := s.nextSweep()
	switch {
	case s.want.space:
		return "space"
	case s.owed.leaves > 0:
		return "replay"
	case s.want.snapshot:
		return "snapshot"
	case s.trims.n > 0:
		return "trim"
	case sweeping != nil:
		return "sweep"
	}
	return "idle"
}
