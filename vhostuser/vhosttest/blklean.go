package vhosttest

// leanLine is the cache line in which a lean request has its header and its status.
const leanLine = 64

// NewLeanDisk makes a client for load generators. Its requests lie in memory as a Linux guest's
// do: header and status side by side, the data in pages of its own, a descriptor for each of
// the three. Shift, Readable and Writable mean nothing to it. From Get to Put a request costs
// no allocation.
func NewLeanDisk(d *Driver, depth, maxLen int) (*Disk, error) {
	k := &Disk{Timeout: defaultTimeout, d: d, mem: d.memory(), maxLen: maxLen, byID: make([]*Req, d.size)}
	heads, err := d.f.mem.Alloc(leanLine*uint64(depth), pageSize)
	if err != nil {
		return nil, err
	}
	requests := make([]Req, depth)
	for i := range requests {
		at, err := d.f.mem.Alloc(uint64(maxLen), pageSize)
		if err != nil {
			return nil, err
		}
		r := &requests[i]
		*r = Req{disk: k, slot: at - pageSize, head: heads + leanLine*uint64(i), segs: make([]Seg, 0, 3)}
		k.free = append(k.free, r)
	}
	return k, nil
}

// lean makes the three descriptors, or two where there is no data.
func (r *Req) lean(read bool) {
	r.segs = append(r.segs[:0], Seg{r.head, blkHeader, false})
	if r.Len > 0 {
		r.segs = append(r.segs, Seg{r.slot + pageSize, uint32(r.Len), read})
	}
	r.segs = append(r.segs, Seg{r.head + blkHeader, 1, true})
}
