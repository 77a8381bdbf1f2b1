package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Open opens the volume in a directory. It takes the volume's lock before it reads anything that
// an earlier server could still be writing.
func Open(dir string, o Options) (*Store, error) {
	return OpenOn(Dir(dir), o)
}

// OpenOn opens the volume whose files an FS has.
func OpenOn(fs FS, o Options) (*Store, error) {
	s := newStore(fs, o)
	err := s.open()
	if err == nil && o.Takeover {
		err = s.takeover()
	}
	if err != nil {
		s.background.end()
		_ = s.closeFiles()
		return nil, err
	}
	return s, nil
}

func newStore(fs FS, o Options) *Store {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.MaxUnretired == 0 {
		o.MaxUnretired = 4
	}
	s := &Store{opts: o, tuning: defaultTuning, log: o.Log, fs: fs}
	if o.Pair {
		s.hold = 1 // all, until the pair says which
	}
	if o.tuning != nil {
		s.tuning = *o.tuning
	}
	s.background = startBackground(s, o.ByHand)
	return s
}

// open goes from files to a state that can be served.
func (s *Store) open() error {
	if err := s.openFiles(); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	s.diskSize.Store(s.size)
	if s.opts.ReadOnly {
		return s.catchUp() // there is no background work
	}
	if err := perform(s, openOrder, &struct{}{}); err != nil {
		return err
	}
	if err := s.dropTemporary(); err != nil {
		return err
	}
	s.background.pokeTend() // an earlier server may have left runs to sweep
	return nil
}

// openFiles opens what the superblock names and takes the lock.
func (s *Store) openFiles() error {
	mode := Mode(0)
	if s.opts.ReadOnly {
		mode = ReadOnly
	}
	var err error
	if s.files.superblock, err = s.fs.Open(superblockName, mode); err != nil {
		return notVolume(s.fs, err)
	}
	sb, err := readSuperblock(s.files.superblock)
	if err != nil {
		return err
	}
	s.super = *sb
	name := dataName
	if sb.dataPath != "" {
		name, s.fixed = sb.dataPath, true
	}
	if s.data, err = s.fs.Open(name, mode|Direct); err != nil {
		return fmt.Errorf("data area: %w", err)
	}
	if err := s.lock(); err != nil {
		return err
	}
	// Another server may have written it between the read above and the lock.
	if sb, err = readSuperblock(s.files.superblock); err != nil {
		return err
	}
	s.super = *sb
	if err := s.openPair(); err != nil {
		return err
	}
	s.align = max(uint64(memAlign(s.data)), sectorSize)
	s.checksums = sb.flags&flagChecksums != 0
	if s.files.journal, err = s.fs.Open(journalName, mode); err != nil {
		return err
	}
	if s.files.pages, err = s.fs.Open(mapName, mode); err != nil {
		return err
	}
	if s.journal, err = openJournal(s.files.journal, sb.id); err != nil {
		return err
	}
	if seen := s.journal.superblockSeen(); seen > sb.sequence {
		return corrupt(superblockName, superblockOffset(seen), "sequence of the newest valid copy",
			sb.sequence, seen)
	}
	s.base, err = openBase(s.fs, sb)
	return err
}

// lock takes the volume's lock, waiting for it as long as the options say.
func (s *Store) lock() error {
	const pause = 20 * time.Millisecond
	for end := time.Now().Add(s.opts.LockWait); ; time.Sleep(pause) {
		err := s.data.Lock()
		if !errors.Is(err, ErrLocked) || !time.Now().Before(end) {
			return err
		}
	}
}

// notVolume says that a directory holds no volume, where that is what is wrong.
func notVolume(fs FS, err error) error {
	if ok, e := fs.Exists(superblockName); e == nil && !ok {
		return fmt.Errorf("%w: no file %q in it", ErrNotVolume, superblockName)
	}
	return err
}

// readCatalog reads the catalog that a superblock names.
func readCatalog(f File, at catalogRef) (*catalog, error) {
	p := make([]byte, at.bytes)
	if n, err := f.ReadAt(p, int64(at.page)*pageSize); err == io.EOF {
		return nil, corrupt(mapName, int64(at.page)*pageSize, "length of the catalog", n, at.bytes)
	} else if err != nil {
		return nil, err
	}
	return decodeCatalog(p, at)
}

// loadState builds the state that a catalog describes. Pages are read when they are needed.
func loadState(f File, c *catalog, base, checksums bool) (*state, error) {
	st := &state{base: base}
	st.restore(c)
	if err := st.attach(f, c, checksums); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

// attach connects the state to the map file.
func (s *state) attach(f File, c *catalog, checksums bool) error {
	var err error
	if s.pages, err = openPageFile(f, c.mapPages, c.free); err != nil {
		return err
	}
	s.mem = newArena()
	if s.blocks, err = newBlockMap(s.pages, s.mem, c.blocks, s.diskBlocks(), c.slots); err != nil {
		return err
	}
	if s.slots, err = newSlots(s.pages, s.mem, c.refs, c.slots); err != nil {
		return err
	}
	if checksums {
		s.sums, err = newSums(s.pages, s.mem, c.sums, c.slots)
	}
	return err
}

// close gives back the state's memory, as much of it as there is.
func (s *state) close() {
	s.owed.close()
	if s.blocks != nil {
		s.blocks.close()
	}
	if s.slots != nil {
		s.slots.close()
	}
	if s.sums != nil {
		s.sums.close()
	}
	if s.mem != nil {
		s.mem.close()
	}
}

// extend tells everybody who counts slots how long the data area is.
func (s *state) extend(total uint64) {
	s.slots.grow(total)
	if s.sums != nil {
		s.sums.grow(total)
	}
}

// loadSnapshot reads the catalog that the superblock names and builds its state.
func (s *Store) loadSnapshot() (*catalog, *state, error) {
	c, err := readCatalog(s.files.pages, s.super.catalog)
	if err != nil {
		return nil, nil, err
	}
	st, err := loadState(s.files.pages, c, s.base != nil, s.checksums)
	return c, st, err
}

// recover loads the state of the newest snapshot and brings it up to date with the journal.
func (s *Store) recover() error {
	return s.recoverWith(func(h recordHeader, payload []byte) error {
		s.defers = true
		return s.apply(h, payload)
	})
}

// recoverWith does so, handing the journal's records to redo.
func (s *Store) recoverWith(redo func(recordHeader, []byte) error) error {
	c, st, err := s.loadSnapshot()
	if err != nil {
		return err
	}
	s.state = *st
	s.buried, s.dropped, s.blocks.arrived = s.bury, s.drop, s.arrived // of the state where it lies now
	size, err := s.data.Size()
	if err != nil {
		return err
	}
	total := min(uint64(size)/blockSize, maxSlots)
	if total < c.slots {
		name := dataName
		if s.fixed {
			name = s.super.dataPath
		}
		return corrupt(name, size, "length of the data area in blocks", total, c.slots)
	}
	s.extend(total)
	if err := s.journal.replay(c.start, s.fs.BootID(), redo); err != nil {
		return err
	}
	s.loose = nil // of a load that did not come about
	return s.recallIntents(c)
}

// openOrder is the procedure between replay and service. Its rows are those of docs/ORDERING.md.
var openOrder = []step[struct{}]{
	{"choose a ring for intents", (*Store).chooseRing},
	{"write recovered data again", (*Store).rewriteRecalled},
	{"sync the data", func(s *Store, _ *struct{}) error { return s.dataSync() }},
	{"enter what was recovered", (*Store).enterRecalled},
	{"begin an incarnation of the journal", (*Store).beginJournal},
	{"let slots be reused", (*Store).openSlots},
}

// beginJournal makes durable what replay found: records that only the page cache held, and where
// the journal ends.
func (s *Store) beginJournal(*struct{}) error {
	if err := s.journal.begin(s.fs.BootID()); err != nil {
		return err
	}
	s.journal.sawSuperblock(s.super.sequence)
	s.flush.synced = s.journal.tail()
	return nil
}

// openSlots begins to hold back what is given up. What replay gave up is free by now: the records
// that did so are durable, and nobody reads.
func (s *Store) openSlots(*struct{}) error {
	s.freed = func(x extent, discarded bool) {
		s.slots.hold(x)
		s.limbo.add(x, discarded)
	}
	return nil
}

// dropTemporary deletes points of an export that did not end.
func (s *Store) dropTemporary() error {
	for _, p := range s.points {
		if p.temp {
			if err := s.deletePoint(p); err != nil {
				return err
			}
			return s.dropTemporary()
		}
	}
	return nil
}
