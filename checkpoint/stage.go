package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// A Stage holds what is to become the state of the disk at one stroke, by Load. Its data lies in
// free slots that nothing names: the guest does not see it, no point has it, and a crash forgets
// it. Several stages may be there at a time.
//
// Write and Zero may be called by several goroutines, for different blocks; what comes later
// replaces what came before. A stage that failed to take something is of no use any more.
type Stage struct {
	s    *Store
	size int64  // bytes of the disk that it is for
	held uint64 // slots; the store's mutex guards it
	over bool   // dropped or loaded; likewise

	mu        sync.Mutex // guards what follows
	log       []staged   // in the order of arrival; once sealed ascending, each block once
	sums      []uint32   // of the data, with payload checksums
	set       blockSet   // blocks in the log
	displaced uint64     // blocks of the log that later ones replace
	sealed    bool
	entries   entries // once sealed
}

// staged is a run of blocks and where they lie. Their checksums are those from sum on.
type staged struct {
	placement
	sum int
}

// errStageOver marks what comes when a stage was sealed, dropped or loaded.
var errStageOver = errors.New("the stage takes nothing any more")

// Stage makes an empty stage. It is ended by Load or Drop.
func (s *Store) Stage() (*Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return nil, err
	}
	st := &Stage{s: s, size: s.size}
	s.stages = append(s.stages, st)
	return st, nil
}

// AlignedBuffer returns n bytes that can go to any device without being copied.
func AlignedBuffer(n int) []byte { return alignedBytes(n) }

// Write stages data for the disk from byte off on, in whole blocks: off is a multiple of 4096, and
// so is the length, but at the disk's end. It returns when the data is with the kernel. p must not
// change meanwhile. The error is ErrNoSpace when there is no free place.
func (st *Stage) Write(off int64, p []byte) error {
	b, n, err := st.span(off, int64(len(p)))
	if err != nil {
		return err
	}
	if p, err = st.s.padded(p, b, n); err != nil {
		return err
	}
	xs, err := st.reserve(n)
	if err != nil {
		return err
	}
	rest := p
	for _, x := range xs {
		if _, err := st.s.data.WriteAt(rest[:x.n*blockSize], int64(x.first)*blockSize); err != nil {
			st.giveBack(xs)
			return fmt.Errorf("staging %d bytes from byte %d: %w", len(p), off, noSpace(err))
		}
		rest = rest[x.n*blockSize:]
	}
	return st.append(b, xs, p)
}

// Zero stages zeroes. Offset and length are as with Write.
func (st *Stage) Zero(off, length int64) error {
	b, n, err := st.span(off, length)
	if err != nil {
		return err
	}
	if in := length % blockSize; in != 0 {
		rest, err := st.s.beyond(b+block(n-1), in)
		if err != nil {
			return err
		}
		if allZero(rest) >= 0 { // the disk ends within a block that cannot be all zeroes
			n--
			if err := st.Write(off+length-in, make([]byte, in)); err != nil || n == 0 {
				return err
			}
		}
	}
	return st.append(b, []extent{{slotZero, n}}, nil)
}

// span judges a range and returns its blocks.
func (st *Stage) span(off, length int64) (block, uint64, error) {
	size := st.size
	if off < 0 || length <= 0 || off > size || length > size-off || off%blockSize != 0 ||
		length%blockSize != 0 && off+length != size {
		return 0, 0, fmt.Errorf("staging %d bytes from byte %d: %w", length, off, bio.ErrRange)
	}
	return block(off / blockSize), uint64(length+blockSize-1) / blockSize, nil
}

// padded returns data for n blocks from b as whole blocks that the device can take. Where the disk
// ends within the last one the rest of it stays what it is: it may be seen when the disk grows.
func (s *Store) padded(p []byte, b block, n uint64) ([]byte, error) {
	whole := uint64(len(p)) == n*blockSize
	if whole && aligned([]unix.Iovec{vectorOf(p)}, s.align) {
		return p, nil
	}
	q := alignedBytes(int(n) * blockSize)
	copy(q, p)
	if whole {
		return q, nil
	}
	rest, err := s.beyond(b+block(n-1), int64(len(p)%blockSize))
	copy(q[len(p):], rest)
	return q, err
}

// beyond returns what a block holds from byte in on: the disk ends there, so that no guest changes
// it.
func (s *Store) beyond(b block, in int64) ([]byte, error) {
	p := make([]byte, blockSize-in)
	s.mu.Lock()
	err := s.ensureRead(b, 1)
	var e entry
	if err == nil {
		e, _ = s.blocks.run(b, 1)
	}
	gen := s.limbo.enter()
	s.mu.Unlock()
	defer s.unpin(gen)
	switch {
	case err != nil:
		return nil, err
	case e.placed():
		return p, s.readSlots(p, e.slot(), in)
	case e.slot() == slotNone && s.base != nil:
		_, err = s.base.ReadAt(p, int64(b)*blockSize+in)
	}
	return p, err
}

// reserve takes n free slots, making room as for a write of the guest.
func (st *Stage) reserve(n uint64) ([]extent, error) {
	const tries = 100 // others may take what was made free
	for range tries {
		xs, err := st.tryReserve(n)
		if err != nil || xs != nil {
			return xs, err
		}
		if err := st.s.findSpace(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("staging %d blocks: %w", n, ErrNoSpace)
}

// tryReserve does so if there are as many; nil without an error: there are not.
func (st *Stage) tryReserve(n uint64) ([]extent, error) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return nil, err
	}
	xs, err := s.slots.reserve(n, nil)
	got := uint64(0)
	for _, x := range xs {
		got += x.n
	}
	if got < n || err != nil {
		for _, x := range xs {
			s.slots.release(x)
		}
		return nil, err
	}
	st.held += n
	s.keepRoom()
	return xs, nil
}

// giveBack frees slots that the stage holds.
func (st *Stage) giveBack(xs []extent) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	for _, x := range xs {
		if x.first < slotNone {
			st.s.slots.release(x)
			st.held -= x.n
		}
	}
}

// append notes where blocks from b on lie. data is what was written there.
func (st *Stage) append(b block, xs []extent, data []byte) error {
	var sums []uint32
	if st.s.sums != nil {
		for ; len(data) > 0; data = data[blockSize:] {
			sums = append(sums, payloadSum(data[:blockSize]))
		}
	}
	st.mu.Lock()
	if st.sealed {
		st.mu.Unlock()
		st.giveBack(xs)
		return errStageOver
	}
	at := len(st.sums)
	st.sums = append(st.sums, sums...)
	for _, x := range xs {
		st.displaced += x.n - st.set.add(b, x.n)
		e := staged{placement{b, x.first, x.n}, at}
		for e.slot < slotNone && e.n > mergedBlocks {
			st.log = append(st.log, e.part(0, mergedBlocks))
			e = e.part(mergedBlocks, e.n-mergedBlocks)
		}
		st.log = append(st.log, e)
		b, at = b+block(x.n), at+int(x.n)
	}
	var gone []extent
	if st.displaced > max(manyDisplaced, st.set.n/2) {
		gone = st.compact()
	}
	st.mu.Unlock()
	st.giveBack(gone)
	return nil
}

// manyDisplaced is how many blocks wait at least until the places of those that were replaced are
// given back.
const manyDisplaced = 64 << 20 / blockSize

// compact leaves each block in the log once, in ascending order, and returns the slots of what was
// replaced. Going through the log backwards, whatever was seen already is replaced.
func (st *Stage) compact() (gone []extent) {
	if st.displaced > 0 {
		var seen blockSet
		var kept []staged
		for i := len(st.log) - 1; i >= 0; i-- {
			e := st.log[i]
			next := uint64(0) // behind the last piece kept
			lose := func(upTo uint64) {
				if upTo > next && e.slot < slotNone {
					gone = append(gone, extent{e.slot + slot(next), upTo - next})
				}
			}
			seen.outside(e.block, e.n, func(skip, n uint64) {
				lose(skip)
				kept = append(kept, e.part(skip, n))
				next = skip + n
			})
			lose(e.n)
			seen.add(e.block, e.n)
		}
		st.log, st.displaced = kept, 0
	}
	slices.SortFunc(st.log, func(a, b staged) int { return cmp.Compare(a.block, b.block) })
	return gone
}

// part returns n blocks of a run, skipping some.
func (e staged) part(skip, n uint64) staged {
	e.block, e.n = e.block+block(skip), n
	if e.slot < slotNone {
		e.slot, e.sum = e.slot+slot(skip), e.sum+int(skip)
	}
	return e
}

// Bytes returns how much of the disk the stage has content for.
func (st *Stage) Bytes() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return int64(st.set.n) * blockSize
}

// Seal says that the stage is complete, and prepares what Load needs, so that it takes less time.
// ErrTooMany if it is more than the journal can take at one stroke: such a stage cannot be loaded.
func (st *Stage) Seal() error {
	st.mu.Lock()
	var gone []extent
	if !st.sealed {
		st.sealed = true
		gone = st.compact()
		for _, e := range st.log {
			st.entries.add(e.placement)
			if st.s.sums != nil && e.slot < slotNone {
				st.entries.sums = append(st.entries.sums, st.sums[e.sum:e.sum+int(e.n)]...)
			}
		}
		st.log, st.sums = nil, nil
	}
	st.mu.Unlock()
	st.giveBack(gone)
	return st.prepare()
}

// prepare has the map and the counts read that Load touches, and judges the stage's length.
func (st *Stage) prepare() error {
	s := st.s
	most := s.journal.room() - s.journal.room()/controlShare - 2*maxRecord // at the end of a lap
	if need := uint64(st.entries.cost()); need > most {
		return fmt.Errorf("a stage that takes %d bytes of the journal, which has room for %d: %w",
			need, most, ErrTooMany)
	}
	const some = 64
	for places := range slices.Chunk(st.entries.places, some) {
		s.mu.Lock()
		err := st.alive()
		for _, p := range places {
			if err == nil {
				err = s.ensurePlace(p)
			}
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// alive returns what is against loading the stage. The store's mutex is held.
func (st *Stage) alive() error {
	if st.over {
		return errStageOver
	}
	return st.s.changeable()
}

// Drop ends a stage that is not loaded: its places are free again. After a load it does nothing.
func (st *Stage) Drop() {
	st.mu.Lock()
	st.sealed = true
	var xs []extent
	for _, e := range st.log {
		xs = append(xs, extent{e.slot, e.n})
	}
	for _, p := range st.entries.places {
		xs = append(xs, extent{p.slot, p.n})
	}
	st.mu.Unlock()
	s := st.s
	s.mu.Lock()
	over := st.over
	st.over = true
	s.endStage(st)
	s.mu.Unlock()
	if !over {
		st.giveBack(xs)
	}
}

// endStage forgets a stage. (One that is being written to may hold a few slots a little longer.) The
// mutex is held.
func (s *Store) endStage(st *Stage) {
	if i := slices.Index(s.stages, st); i >= 0 {
		s.stages = slices.Delete(s.stages, i, i+1)
	}
}
