package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// CheckReport says what a check looked at and what is wrong. Faults are in the order found.
type CheckReport struct {
	Pages   int64    `json:"pages"`   // of the map file
	Records int64    `json:"records"` // death records
	Blocks  int64    `json:"blocks"`  // mapped
	Slots   int64    `json:"slots"`   // in use
	Data    bool     `json:"data"`    // whether data was checked against its checksums
	Unused  int64    `json:"unused"`  // pages of the map file that nothing names and nothing reuses
	Faults  []string `json:"faults"`
}

// checkWait is how long check and dump wait for a killed server's last I/O.
const checkWait = 3 * time.Second

// maxFaults bounds a report.
const maxFaults = 100

// Check verifies everything in a volume that no process has open: both copies of superblock and
// journal header, every record, page and reference, the count of every slot, and with payload
// checksums the data. It changes nothing. An error means that the check could not be done.
func Check(ctx context.Context, dir string, progress func(done, total int64)) (CheckReport, error) {
	return checkOn(ctx, Dir(dir), progress)
}

func checkOn(ctx context.Context, fs FS, progress func(done, total int64)) (CheckReport, error) {
	s := newStore(fs, Options{ReadOnly: true, LockWait: checkWait})
	defer func() { s.background.end(); _ = s.closeFiles() }()
	c := newChecker(ctx, progress)
	if f, err := fs.Open(superblockName, ReadOnly); err == nil {
		c.superblocks(f)
		c.note(f.Close())
	}
	if err := s.open(); err != nil {
		undone := c.unlessCorrupt(err) // judged by what is wrong with the superblock, if anything
		c.note(err)
		return c.report, undone
	}
	c.journalHeaders(s.files.journal)
	err := c.state(&s.state, s)
	if err == nil && s.sums != nil {
		err = c.data(s)
	}
	return c.report, err
}

// Check verifies the volume while it is served: the metadata of a snapshot made for it, whose pages
// stay as they are meanwhile; then the data as it is, for which nothing is held up.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (CheckReport, error) {
	c := newChecker(ctx, progress)
	report, err := s.checkSnapshot(c)
	if err == nil && s.sums != nil {
		err = c.data(s)
		report = c.report
	}
	return report, err
}

// checkSnapshot verifies the metadata. Meanwhile no other snapshot is made.
func (s *Store) checkSnapshot(c *checker) (CheckReport, error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	if !s.opts.ReadOnly {
		if err := s.snapshot(); err != nil {
			return CheckReport{}, err
		}
	}
	c.superblocks(s.files.superblock)
	_, st, err := s.loadSnapshot()
	if err != nil {
		c.note(err)
		return c.report, c.unlessCorrupt(err)
	}
	defer st.close()
	return c.report, c.state(st, s)
}

// checker collects what is wrong.
type checker struct {
	ctx      context.Context
	progress func(done, total int64)
	done     int64
	total    int64
	report   CheckReport

	pages  map[uint64]bool // of the map file, seen
	counts []uint8         // of slots, as found
}

func newChecker(ctx context.Context, progress func(done, total int64)) *checker {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	return &checker{
		ctx: ctx, progress: progress, pages: map[uint64]bool{}, report: CheckReport{Faults: []string{}},
	}
}

// note adds a fault.
func (c *checker) note(err error) {
	if err != nil && len(c.report.Faults) < maxFaults {
		c.report.Faults = append(c.report.Faults, err.Error())
	}
}

// unlessCorrupt tells damage, which is what a check is to find, from what keeps it from looking.
func (c *checker) unlessCorrupt(err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotVolume) && len(c.report.Faults) > 0 {
		return nil
	}
	return err
}

// step reports progress and hears of an end.
func (c *checker) step(n int64) error {
	c.done += n
	c.progress(c.done, max(c.total, c.done))
	return c.ctx.Err()
}

// superblocks verifies both copies, of which opening needs one.
func (c *checker) superblocks(f File) {
	for i := range int64(2) {
		p := make([]byte, superblockLen)
		if _, err := f.ReadAt(p, i*superblockLen); err != nil {
			c.note(corrupt(superblockName, i*superblockLen, "length of the copy", "less", superblockLen))
			continue
		}
		_, err := decodeSuperblock(p, i*superblockLen)
		c.note(err)
	}
}

func (c *checker) journalHeaders(f File) {
	for i := range int64(2) {
		p := make([]byte, journalHeaderLen)
		_, err := f.ReadAt(p, i*journalHeaderGap)
		if err == nil {
			_, err = decodeJournalHeader(p, i*journalHeaderGap)
		}
		c.note(err)
	}
}

// state verifies the metadata of a state.
func (c *checker) state(st *state, s *Store) error {
	u := st.slots.usage()
	c.counts = make([]uint8, u.total)
	c.total = int64(st.pages.length())
	if st.sums != nil {
		c.total += int64(u.referenced)
	}
	for _, pass := range []func(*state) error{c.arrays, c.runs, c.mapped, c.refs} {
		if err := pass(st); err != nil {
			return err
		}
	}
	c.report.Pages = int64(len(c.pages))
	c.unnamed(st, s.super.catalog)
	return nil
}

// arrays reads every page of the persistent arrays.
func (c *checker) arrays(st *state) error {
	buf := make([]byte, pageSize)
	for _, a := range st.arrays() {
		err := a.eachPage(func(kind pageKind, at ref) error {
			c.see(at)
			c.note(st.pages.read(at, kind, buf))
			return c.step(1)
		})
		if err != nil && c.ctx.Err() != nil {
			return err
		}
		c.note(err)
	}
	return nil
}

// see notes that a page is in use, and by one user only.
func (c *checker) see(at ref) {
	if c.pages[at.page] {
		c.note(corrupt(mapName, int64(at.page)*pageSize, "users of the page", "two", "one"))
	}
	c.pages[at.page] = true
}

// runs reads every death record and counts the slots it keeps.
func (c *checker) runs(st *state) error {
	owners := map[*run]*point{}
	for _, p := range st.points {
		for _, r := range p.runs {
			owners[r] = p
		}
	}
	for _, r := range st.runs() {
		var blocks uint64
		err := r.stored().read(st.pages, func(d death) {
			blocks += uint64(d.n)
			c.report.Records++
			if p := owners[r]; p != nil && !r.sweep && !d.holds(p.id) {
				c.note(fmt.Errorf("map: death record %+v lies behind point %d that it does not hold", d, p.id))
			}
			c.count(d.slot, uint64(d.n))
		}, c.see)
		if err == nil && blocks != r.blocks {
			at := int64(r.head.page) * pageSize
			err = corrupt(mapName, at, fmt.Sprint("blocks of run ", r.id), blocks, r.blocks)
		}
		c.note(err)
		if err := c.step(1); err != nil {
			return err
		}
	}
	return nil
}

// count notes that a lifetime names slots.
func (c *checker) count(first slot, n uint64) {
	if first >= slotNone {
		return
	}
	if uint64(first)+n > uint64(len(c.counts)) {
		c.note(corrupt(mapName, 0, "place of blocks", extent{first, n}, fmt.Sprintf("below %d", len(c.counts))))
		return
	}
	for i := range n {
		if k := &c.counts[uint64(first)+i]; *k < 255 {
			*k++
		}
	}
}

// mapped walks the block map and counts the slots it names.
func (c *checker) mapped(st *state) error {
	end := block(st.diskBlocks())
	for at := block(0); at < end; {
		b, e, n, err := st.blocks.next(at, end)
		if err != nil {
			c.note(err)
			return c.unlessCorrupt(err)
		}
		if n == 0 {
			break
		}
		if e.placed() {
			c.report.Blocks += int64(n)
			c.count(e.slot(), n)
		}
		if at = b + block(n); c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
	return nil
}

// refs compares the counts that the store keeps with those found.
func (c *checker) refs(st *state) error {
	for i, want := range c.counts {
		found, err := st.slots.count(slot(i))
		if err != nil {
			c.note(err)
			return c.unlessCorrupt(err)
		}
		if want > 0 {
			c.report.Slots++
		}
		if found != want {
			c.note(corrupt(mapName, 0, fmt.Sprintf("count of slot %d", i), found, want))
		}
		if i%(1<<16) == 0 && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
	return nil
}

// unnamed counts pages that are neither used nor free, and finds those that are both.
func (c *checker) unnamed(st *state, at catalogRef) {
	for i := range pagesOf(at.bytes) {
		c.see(ref{page: at.page + i})
	}
	for i := uint64(1); i < st.pages.length(); i++ {
		switch free := st.pages.isFree(i); {
		case free && c.pages[i]:
			c.note(corrupt(mapName, int64(i)*pageSize, "state of the page", "free", "in use"))
		case !free && !c.pages[i]:
			c.report.Unused++
		}
	}
}

// checkedSlots is how many slots the check of data keeps from being reused at a time.
const checkedSlots = 256

// data reads every slot in use and compares it with its checksum: some at a time, as they are at
// that moment.
func (c *checker) data(s *Store) error {
	c.report.Data = true
	for at := slot(0); ; at += checkedSlots {
		used, gen, err := s.pinSlots(at)
		if err != nil {
			c.note(err)
			err = c.unlessCorrupt(err)
		}
		for _, u := range used {
			if err == nil {
				err = c.datum(s.data, u)
			}
		}
		s.unpin(gen)
		if err != nil || used == nil {
			return err
		}
	}
}

// datum verifies one slot.
func (c *checker) datum(f File, u usedSlot) error {
	buf := alignedBytes(blockSize)
	if _, err := f.ReadAt(buf, int64(u.at)*blockSize); err != nil {
		c.note(fmt.Errorf("%s: byte %d: %w", dataName, int64(u.at)*blockSize, err))
	} else {
		c.note(checkSum(buf, u.at, u.sum))
	}
	return c.step(1)
}

// usedSlot is a slot that something names, and what its content must sum to.
type usedSlot struct {
	at  slot
	sum uint32
}

// pinSlots lists the slots in use among checkedSlots from first and keeps them from being reused
// until unpin; nil behind the end of the data area.
func (s *Store) pinSlots(first slot) (used []usedSlot, gen uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gen = s.limbo.enter()
	total := slot(s.slots.usage().total)
	if first >= total {
		return nil, gen, nil
	}
	used = make([]usedSlot, 0, checkedSlots)
	for at := first; at < min(first+checkedSlots, total); at++ {
		n, err := s.slots.count(at)
		if err == nil {
			err = s.sums.ensure(at, 1)
		}
		if err != nil {
			return nil, gen, err
		}
		if n > 0 {
			used = append(used, usedSlot{at, s.sums.get(at)})
		}
	}
	return used, gen, nil
}
