package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/internal/bio"
)

// Options say how a store is opened.
type Options struct {
	ReadOnly     bool   // serve the state as it is; nothing on disk changes
	Takeover     bool   // raise the generation and return to the last retired point first
	MaxUnretired int    // started points that may wait for their retire; 0 means 4
	KeepHoles    bool   // do not give discarded space back to the file system
	Volume       uint64 // the number by which probe points name it; 0 for the first of a process
	Pair         bool   // whoever opens it runs the pair that it belongs to, or will
	Force        bool   // open it for writing though it belongs to a pair
	Log          hclog.Logger

	// LockWait is how long to wait for the volume's lock. A server that was killed holds it until
	// its last I/O has ended.
	LockWait time.Duration

	// ByHand starts no goroutines. What they do is done by those who wait for it, and by Work. It is for
	// simulations, in which nothing is to happen by itself.
	ByHand bool

	tuning *tuning
}

// tuning holds sizes that tests make small.
type tuning struct {
	regionSlots    uint64 // free slots that a lane takes at a time
	growSlots      uint64 // the least by which the data area grows
	minSlack       uint64 // slots: the slack of a small volume
	unprovenBlocks uint64 // placements after which a flush round runs by itself
	intentSlots    uint64 // for intents; 0: none
}

var defaultTuning = tuning{
	regionSlots:    256,
	growSlots:      64 << 20 / blockSize,
	minSlack:       64 << 20 / blockSize,
	unprovenBlocks: 256 << 20 / blockSize,
	intentSlots:    256,
}

// Store is an open volume. All methods may be called from any goroutine; the data path goes
// through lanes, one per worker.
//
// Two locks, taken in this order: admin excludes snapshots, sweeps, rollbacks, checks and resizes
// from each other and may be held during I/O; mu guards everything that requests touch and is
// held for short stretches only: a batch's lookups, a batch's commit. (Under mu, pages of the map
// that are not in memory yet are read.)
type Store struct {
	opts   Options
	tuning tuning
	log    hclog.Logger
	fs     FS
	files  struct{ superblock, journal, pages File }
	data   File
	fixed  bool   // the data area is a device: it cannot grow
	align  uint64 // what memory, place and length of I/O must be multiples of; at least a sector
	base   *base  // nil without a base image

	checksums bool

	admin sync.Mutex
	super superblock // written under admin, read under mu

	mu sync.Mutex
	state
	journal   *journal
	limbo     limbo
	trims     trims
	recurring uint64   // slots that points kept which came and went of late
	quietAt   sequence // where the journal was when trimSlack looked last
	flush     flushState
	intents   intents
	syncs     syncs
	want      wants
	warmed    warming
	written   uint64 // placements since the last round that watch asked for
	lanes     []*lane
	views     []*View
	tracker   *Tracker // nil: nobody tracks
	stages    []*Stage
	hold      epoch // points from this one on are not released by a retire; 0: none

	pair pairKeeper

	recalled recalled // between replay and service only

	diskSize   atomic.Int64
	failure    atomic.Pointer[error] // why the store is poisoned
	background *background
	stats      stats
	access     access
	closed     bool
}

// poison stops the store: after a failed sync nothing is known about what was written, and trying
// again would pass over what the kernel has forgotten. It returns the error that every later
// change gets.
func (s *Store) poison(err error) error {
	if !errors.Is(err, ErrPoisoned) {
		err = poison(err)
	}
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("store stopped: reopen it to see what is on disk", "error", err)
	}
	return s.poisoned()
}

// poisoned returns nil, or why the store takes no changes any more.
func (s *Store) poisoned() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Size returns the length of the disk in bytes.
func (s *Store) Size() int64 { return s.diskSize.Load() }

// ReadOnly reports whether the store was opened for reading only.
func (s *Store) ReadOnly() bool { return s.opts.ReadOnly }

// DataFD returns the descriptor of the data area, for choosing an engine that suits it.
func (s *Store) DataFD() int { return s.data.Fd() }

// Close makes everything durable and lets go of the files. Lanes and views must be closed.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	errs := []error{s.access.close()}
	s.background.end() // its last step may need the admin lock
	s.admin.Lock()
	defer s.admin.Unlock()
	if !s.opts.ReadOnly {
		errs = append(errs, s.closeJournal())
	}
	return errors.Join(append(errs, s.closeFiles())...)
}

// closeJournal leaves a volume that opens without replay.
func (s *Store) closeJournal() error {
	s.files.journal = nil // the journal closes it
	if err := s.poisoned(); err != nil {
		_ = s.journal.close(false)
		return err
	}
	err := s.snapshot()
	if errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrPoisoned) {
		s.log.Warn("closed without a map snapshot: the next opening reads the journal", "error", err)
		err = nil
	}
	if err == nil {
		s.mu.Lock()
		s.flush.wanted = true
		s.mu.Unlock()
		s.flushOnce()
		err = s.poisoned()
	}
	return errors.Join(err, s.journal.close(err == nil))
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, f := range []File{s.files.superblock, s.files.journal, s.files.pages, s.data} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	errs = append(errs, s.base.close(), s.pair.close())
	s.state.close()
	return errors.Join(errs...)
}

// changeable refuses a change to a store that cannot take one. The store's mutex is held.
func (s *Store) changeable() error {
	if s.opts.ReadOnly {
		return fmt.Errorf("volume: %w", bio.ErrReadOnly)
	}
	if s.closed {
		return fmt.Errorf("volume: %w", fs.ErrClosed)
	}
	return s.poisoned()
}
