package checkpoint

import (
	"errors"
	"fmt"
)

// A snapshot writes the state as of one moment, the cut, to the map file: only the pages that
// changed since the last one, to fresh places, and a catalog that names them. Once the superblock
// names the catalog, the journal before the cut is not needed any more.
//
// Writers go on meanwhile. A page that they change after the cut is copied out for the snapshot
// first (array.go); the records of dead runs are only ever appended to (dead.go).
type snapshot struct {
	catalog catalog
	at      catalogRef // where it was written
	runs    []frozenRun
	seal    uint64 // newest batch of limbo given up before the cut
}

// frozenRun is a run with records that no page holds yet.
type frozenRun struct {
	run        *run
	full, head ref
	tail       []death
	index      int // in the catalog's list of runs
}

// snapshotOrder is the procedure of a snapshot. Its rows are those of docs/ORDERING.md.
var snapshotOrder = []step[snapshot]{
	{"write the pages", (*Store).writePages},
	{"sync the data", (*Store).syncSnapshotData},
	{"sync the map", (*Store).syncMap},
	{"write the superblock", (*Store).nameCatalog},
	{"note the superblock", (*Store).noteSuper},
	{"release journal and pages", (*Store).commitSnapshot},
}

// snapshot folds the journal into the map file. The admin lock is held.
func (s *Store) snapshot() error {
	if err := s.catchUp(); err != nil {
		return fmt.Errorf("map snapshot: %w", err)
	}
	var sn snapshot
	s.mu.Lock()
	if err := s.poisoned(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.cut(&sn)
	s.mu.Unlock()
	err := perform(s, snapshotOrder, &sn)
	if err == nil {
		s.stats.snapshots.Add(1)
		s.background.report(faultSnapshot, nil)
		return nil
	}
	err = fmt.Errorf("map snapshot: %w", err)
	if errors.Is(err, ErrPoisoned) {
		return s.poison(err) // a superblock may name it: its pages stay as they are
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range sn.runs {
		f.run.abort()
	}
	for _, a := range s.arrays() {
		a.abort()
	}
	s.pages.abort()
	return err
}

// cut fixes what the snapshot holds. It copies what is small and marks what is large. The store's
// mutex is held.
func (s *Store) cut(sn *snapshot) {
	if s.owed.leaves > 0 || s.skipped {
		invariant("a snapshot of a state that is behind")
	}
	sn.catalog = s.state.catalog()
	sn.catalog.gen = s.super.catalog.gen + 1
	sn.catalog.start = s.journal.start()
	sn.catalog.passed = s.passIntents()
	sn.seal = s.limbo.seal()
	for _, a := range s.arrays() {
		a.freeze()
	}
	s.pages.freeze()
	for i, r := range s.state.runs() {
		if r.changed {
			f := frozenRun{run: r, full: r.full, head: r.head, index: i}
			f.tail = r.freeze()
			sn.runs = append(sn.runs, f)
		}
	}
}

// arrays returns the persistent arrays, in the order of the catalog's roots.
func (s *state) arrays() []*array {
	all := []*array{&s.blocks.array, &s.slots.array}
	if s.sums != nil {
		all = append(all, &s.sums.array)
	}
	return all
}

// writePages writes everything that the catalog names, and the catalog last.
func (s *Store) writePages(sn *snapshot) error {
	c := &sn.catalog
	for i := range sn.runs {
		f := &sn.runs[i]
		w, err := writeRun(s.pages, c.gen, f.full, f.head, f.tail)
		if err != nil {
			return err
		}
		if w.replaced != (ref{}) {
			s.pages.supersede(pageExtent{w.replaced.page, 1})
		}
		f.run.next = w
		c.runs[f.index].full, c.runs[f.index].head = w.full, w.head
	}
	roots := []*catalogArray{&c.blocks, &c.refs, &c.sums}
	for i, a := range s.arrays() {
		r, err := a.write(c.gen, &s.mu)
		if err != nil {
			return err
		}
		roots[i].roots, roots[i].pages = r, a.pages()
	}
	return s.writeCatalog(sn)
}

// writeCatalog writes the catalog to fresh pages of its own.
func (s *Store) writeCatalog(sn *snapshot) error {
	c := &sn.catalog
	if old := s.super.catalog; old.page != 0 {
		s.pages.supersede(pageExtent{old.page, pagesOf(old.bytes)})
	}
	at := s.placeCatalog(c)
	p := encodeCatalog(c)
	sn.at = catalogRef{page: at.page, bytes: uint64(len(p)), gen: c.gen, crc: catalogSum(p)}
	padded := make([]byte, at.n*pageSize)
	copy(padded, p)
	return s.pages.writeAt(at.page, padded)
}

// placeCatalog takes as many pages for a catalog as it is long. It lists the free ones, of which it takes
// some: that can make the list longer, or shorter, by what goes to another page. At the end of the file it
// takes none, and the list stays as it is.
func (s *Store) placeCatalog(c *catalog) pageExtent {
	c.free = s.pages.freeList()
	at := s.pages.reserve(c.pages())
	if c.free = s.pages.freeList(); c.pages() != at.n {
		s.pages.unused(at)
		c.free = s.pages.freeList()
		at = s.pages.append(c.pages())
	}
	c.mapPages = s.pages.length()
	if c.pages() != at.n {
		invariant("a catalog outgrew its pages")
	}
	return at
}

func pagesOf(bytes uint64) uint64 { return (bytes + pageSize - 1) / pageSize }

func (s *Store) syncSnapshotData(*snapshot) error { return s.dataSync() }

func (s *Store) syncMap(*snapshot) error { return poisonous(s.files.pages.Sync()) }

// poisonous marks the error of a sync, after which nothing is known about the disk.
func poisonous(err error) error {
	if err != nil {
		return poison(err)
	}
	return nil
}

// nameCatalog makes the superblock name the new catalog, durably. Until it does, the old one and
// all that it names is untouched.
func (s *Store) nameCatalog(sn *snapshot) error {
	next := s.super
	next.catalog = sn.at
	return s.writeSuper(next)
}

// writeSuper makes a new superblock the store's, durably. The admin lock is held.
func (s *Store) writeSuper(next superblock) error {
	next.sequence++
	if err := writeSuperblock(s.files.superblock, &next); err != nil {
		return poison(err) // it may have been written all the same
	}
	s.mu.Lock()
	s.super = next
	s.mu.Unlock()
	s.journal.sawSuperblock(next.sequence)
	return nil
}

// noteSuper makes durable, in the journal's header, that there is a newer superblock. Otherwise, if
// the new copy were damaged, the old one would pass for the newest, with its journal overwritten.
// It takes two syncs: a header may be on its way, and the note is not written over its other copy
// before it has arrived.
func (s *Store) noteSuper(*snapshot) error {
	if err := s.journal.sync(); err != nil {
		return poison(err)
	}
	s.journal.sawSuperblock(s.super.sequence)
	return poisonous(s.journal.sync())
}

// commitSnapshot gives up what only the previous snapshot needed.
func (s *Store) commitSnapshot(sn *snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range sn.runs {
		f.run.commit()
	}
	for _, a := range s.arrays() {
		a.commit()
	}
	s.pages.commit()
	s.unordered = false
	s.journal.release(sn.catalog.start.pos)
	s.limbo.durable(sn.seal)
	s.limbo.collect(s.release)
	s.wakeLanes()
	return nil
}
