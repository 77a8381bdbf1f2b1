package vhostuser

// memRegion is one region of guest memory as the front end describes it.
type memRegion struct {
	guestAddr, size, userAddr, mmapOffset uint64
}

// memTable is an immutable set of mapped regions. A change makes a new table that shares the
// mappings that stay. A nil table has no regions.
type memTable struct{}

// with returns t and one region more. A region that t has already, of the same file, keeps
// its mapping. The descriptor stays the caller's.
func (t *memTable) with(r memRegion, fd int) (*memTable, error) { return t, nil }

// without returns t less the region with r's guest address, size and user address.
func (t *memTable) without(r memRegion) (*memTable, error) { return t, nil }

// replaceTable returns a table of rs, in which regions equal to old's keep their mapping.
// The descriptors stay the caller's.
func replaceTable(old *memTable, rs []memRegion, fds []int) (*memTable, error) { return old, nil }

// release unmaps what next does not hold any more. Nothing may use t afterwards.
func (t *memTable) release(next *memTable) {}

// keeps reports whether t still holds every mapping of old: whoever runs on old may go on
// (growMemory) and need not be stopped.
func (t *memTable) keeps(old *memTable) bool { return true }

// len is the number of regions.
func (t *memTable) len() int { return 0 }

// unsealed is the number of regions whose file the front end can still shrink.
func (t *memTable) unsealed() int { return 0 }
