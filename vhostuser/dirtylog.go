package vhostuser

// logPage is the unit of the dirty log, whatever the guest's page size (VHOST_LOG_PAGE).
const logPage = 4096

// maxLogBytes bounds the bitmap: it covers 2^47 bytes of guest addresses.
const maxLogBytes = uint64(1) << 32

// dirtyLog is a mapped bitmap of dirty guest pages, shared with the front end, which fetches
// and clears its words whenever it likes, and with the VM's other devices.
type dirtyLog struct {
	m    *mapping
	bits []byte // one bit per logPage of guest address from 0 upwards, lowest bit first
}

// mapDirtyLog maps the bitmap. The descriptor stays the caller's.
func mapDirtyLog(fd int, size, offset uint64) (*dirtyLog, error) {
	if size > maxLogBytes || !within(offset, size, maxShared) {
		return nil, &RegionError{What: "dirty log", Offset: offset, Size: size, Err: ErrLimit}
	}
	m, err := mapFile("dirty log", fd, offset, size)
	if err != nil {
		return nil, err
	}
	return &dirtyLog{m: m, bits: m.bytes[offset:][:size:size]}, nil
}

// close unmaps the bitmap: no queue may hold it any more. nil-safe.
func (l *dirtyLog) close() {
	if l != nil {
		l.m.unmap()
	}
}

// mark sets the bits of n bytes at a guest address, after they were written: the front end
// may fetch a bit as soon as it is set and copy the page. It always writes, even if the bits
// look set: between our look and its fetch they may be cleared, and the page would be lost.
// Pages beyond the bitmap are not of interest to the front end. nil-safe.
func (l *dirtyLog) mark(addr, n uint64) {
	if l == nil || n == 0 || addr+n < addr {
		return
	}
	page, end := addr/logPage, min((addr+n-1)/logPage+1, uint64(len(l.bits))*8)
	for page < end {
		word, bit := wordOf(l.bits, page)
		count := min(end-page, uint64(32-bit))
		or32(word, maskBits(bit, uint32(count)))
		page += count
	}
}

func (l *dirtyLog) owns(addr uintptr) bool { return l != nil && l.m.contains(addr) }
