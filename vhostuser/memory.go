package vhostuser

import (
	"fmt"
	"math"
	"slices"
)

// maxRegions bounds the memory table: the most that GET_MAX_MEM_SLOTS ever promises.
const maxRegions = 256

// memRegion is one region of guest memory as the front end describes it.
type memRegion struct {
	guestAddr, size, userAddr, mmapOffset uint64
}

// same reports whether two descriptions name the same piece of the guest. mmapOffset is not
// compared: REM_MEM_REG sends 0.
func (r memRegion) same(o memRegion) bool {
	return r.guestAddr == o.guestAddr && r.size == o.size && r.userAddr == o.userAddr
}

// overlaps reports whether two regions share a guest or a user address.
func (r memRegion) overlaps(o memRegion) bool {
	meet := func(a, b uint64) bool { return a < b+o.size && b < a+r.size }
	return meet(r.guestAddr, o.guestAddr) || meet(r.userAddr, o.userAddr)
}

// check refuses a region whose ends cannot be computed. The rest of the package relies on
// it: no address inside a region plus a length inside it overflows.
func (r memRegion) check() error {
	switch {
	case !within(r.mmapOffset, r.size, maxMapping):
		return r.fail(ErrLimit)
	case r.guestAddr > math.MaxUint64-r.size || r.userAddr > math.MaxUint64-r.size:
		return r.fail(fmt.Errorf("end of the region %w of 2^64", ErrLimit))
	}
	return nil
}

func (r memRegion) fail(err error) error {
	return &RegionError{What: "memory region", Offset: r.guestAddr, Size: r.size, Err: err}
}

// region is a memRegion with its memory.
type region struct {
	memRegion
	host []byte // size bytes, the one at guestAddr first
	m    *mapping
}

func newRegion(r memRegion, m *mapping) region {
	return region{memRegion: r, host: m.bytes[r.mmapOffset:][:r.size:r.size], m: m}
}

// memTable is an immutable set of mapped regions. A change makes a new table that shares the
// mappings that stay. A nil table has no regions.
type memTable struct {
	regions []region // by ascending guestAddr, none overlapping another
}

// with returns t and one region more. A region that t has already, of the same file, keeps
// its mapping. The descriptor stays the caller's.
func (t *memTable) with(r memRegion, fd int) (*memTable, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	file, err := identify(fd)
	if err != nil {
		return nil, r.fail(err)
	}
	if t.find(r, file) != nil {
		return t, nil
	}
	rest := t.drop(r)
	if err := rest.admits(r); err != nil {
		return nil, err
	}
	m, err := mapFile("memory region", fd, r.mmapOffset, r.size)
	if err != nil {
		return nil, err
	}
	return rest.plus(newRegion(r, m)), nil
}

// without returns t less the region with r's guest address, size and user address.
func (t *memTable) without(r memRegion) (*memTable, error) {
	rest := t.drop(r)
	if rest.len() == t.len() {
		return nil, r.fail(ErrUnmapped)
	}
	return rest, nil
}

// replaceTable returns a table of rs, in which regions equal to old's keep their mapping.
// The descriptors stay the caller's.
func replaceTable(old *memTable, rs []memRegion, fds []int) (*memTable, error) {
	next := &memTable{}
	if len(rs) != len(fds) {
		return nil, fmt.Errorf("%d regions with %d descriptors: %w", len(rs), len(fds), ErrLimit)
	}
	for i, r := range rs {
		more, err := next.withKept(old, r, fds[i])
		if err != nil {
			next.release(old)
			return nil, err
		}
		next = more
	}
	return next, nil
}

// withKept is with, but takes the mapping from old where old has an equal region.
func (t *memTable) withKept(old *memTable, r memRegion, fd int) (*memTable, error) {
	file, err := identify(fd)
	if err != nil {
		return nil, r.fail(err)
	}
	kept := old.find(r, file)
	if kept == nil {
		if t.drop(r).len() != t.len() {
			return nil, r.fail(ErrOverlap) // replacing would lose a mapping made a moment ago
		}
		return t.with(r, fd)
	}
	if err := t.admits(r); err != nil {
		return nil, err
	}
	return t.plus(*kept), nil
}

// release unmaps what next does not hold any more. Nothing may use t afterwards.
func (t *memTable) release(next *memTable) {
	for i := range t.all() {
		if m := t.regions[i].m; !next.holds(m) {
			m.unmap()
		}
	}
}

// keeps reports whether t still holds every mapping of old: whoever runs on old may go on
// (growMemory) and need not be stopped.
func (t *memTable) keeps(old *memTable) bool {
	return !slices.ContainsFunc(old.all(), func(r region) bool { return !t.holds(r.m) })
}

// len is the number of regions.
func (t *memTable) len() int { return len(t.all()) }

// unsealed is the number of regions whose file the front end can still shrink.
func (t *memTable) unsealed() int {
	n := 0
	for _, r := range t.all() {
		if !r.m.sealed {
			n++
		}
	}
	return n
}

// guest translates a guest address to at most n bytes from there to the end of its region;
// nil if the address is in none.
func (t *memTable) guest(addr, n uint64) []byte {
	rs := t.all()
	lo, hi := 0, len(rs) // the last region that starts at or below addr is below hi
	for lo < hi {
		mid := (lo + hi) / 2
		if rs[mid].guestAddr <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	r := &rs[lo-1]
	off := addr - r.guestAddr
	if off >= r.size {
		return nil
	}
	end := off + min(n, r.size-off)
	return r.host[off:end:end]
}

// user translates the n bytes at a front end's virtual address, which must lie in one
// region, and gives their guest address.
func (t *memTable) user(addr, n uint64) (host []byte, guestAddr uint64, err error) {
	for i := range t.all() {
		r := &t.regions[i]
		off := addr - r.userAddr
		if addr >= r.userAddr && off < r.size && n <= r.size-off {
			return r.host[off : off+n : off+n], r.guestAddr + off, nil
		}
	}
	return nil, 0, ErrUnmapped
}

// owns reports whether an address of this process is guest memory.
func (t *memTable) owns(addr uintptr) bool {
	return slices.ContainsFunc(t.all(), func(r region) bool { return r.m.contains(addr) })
}

func (t *memTable) all() []region {
	if t == nil {
		return nil
	}
	return t.regions
}

// find is the region equal to r in every field and of the same file.
func (t *memTable) find(r memRegion, file fileID) *region {
	for i := range t.all() {
		if t.regions[i].memRegion == r && t.regions[i].m.file == file {
			return &t.regions[i]
		}
	}
	return nil
}

// drop is t less the region that is the same as r, if there is one.
func (t *memTable) drop(r memRegion) *memTable {
	rest := slices.DeleteFunc(slices.Clone(t.all()), func(x region) bool { return x.same(r) })
	return &memTable{regions: rest}
}

// plus is t with x in its place.
func (t *memTable) plus(x region) *memTable {
	rs := append(slices.Clone(t.all()), x)
	slices.SortFunc(rs, func(a, b region) int {
		if a.guestAddr < b.guestAddr {
			return -1
		}
		return 1 // no two are equal: they would overlap
	})
	return &memTable{regions: rs}
}

// admits checks that r fits beside the regions of t.
func (t *memTable) admits(r memRegion) error {
	if t.len() >= maxRegions {
		return r.fail(fmt.Errorf("%d regions: %w", t.len()+1, ErrLimit))
	}
	mapped := r.mmapOffset + r.size
	for _, x := range t.all() {
		mapped += x.mmapOffset + x.size
	}
	if mapped > maxMapping {
		return r.fail(fmt.Errorf("%d bytes to map: %w", mapped, ErrLimit))
	}
	if slices.ContainsFunc(t.all(), func(x region) bool { return r.overlaps(x.memRegion) }) {
		return r.fail(ErrOverlap)
	}
	return nil
}

func (t *memTable) holds(m *mapping) bool {
	return slices.ContainsFunc(t.all(), func(r region) bool { return r.m == m })
}
