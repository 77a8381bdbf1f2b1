package disktest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	pageSize   = 4096
	sectorSize = 512
	allSectors = 0xff
)

// page is one page of a file. Once it is in a table or a version it is never changed, so cuts
// share pages with the disk that they were taken from.
type page [pageSize]byte

var zeroPage page

// inode is a file's content. The disk's mutex guards it; mapped memory, which the program under
// test changes at any time, is read as it is.
type inode struct {
	device bool
	size   int64
	live   []*page // as the running system sees it; nil: zeroes. Behind mem where that exists
	holds  []bool  // which pages take space
	held   int64   // their number

	stableSize int64
	sizes      []int64 // those since the last sync, oldest first
	stable     []*page
	pending    []version // what was written since the last sync, oldest first
	done       moment    // how many versions and sizes were taken from the lists above

	mem     []byte // the mapped part; its changes are known after capture
	cleanup runtime.Cleanup
	lock    *File
}

// version is a page as an operation left it.
type version struct {
	index   int
	sectors uint8 // those that the operation wrote, as bits
	data    *page
}

func pagesOf(size int64) int { return int((size + pageSize - 1) / pageSize) }

// resizeTables makes the tables fit the largest size that a cut may choose.
func (n *inode) resizeTables() {
	most := max(n.size, n.stableSize)
	for _, s := range n.sizes {
		most = max(most, s)
	}
	for k := pagesOf(most); len(n.live) < k; {
		n.live, n.stable, n.holds = append(n.live, nil), append(n.stable, nil), append(n.holds, false)
	}
}

func content(p *page) *page {
	if p == nil {
		return &zeroPage
	}
	return p
}

// setSize changes the size; what a file loses reads as zeroes when it grows again.
func (n *inode) setSize(size int64) {
	if size == n.size {
		return
	}
	if size < n.size {
		n.zero(size, n.size-size)
	}
	n.sizes = append(n.sizes, size)
	n.size = size
	n.resizeTables()
}

// needs returns how many pages of a range take no space yet.
func (n *inode) needs(off, length int64) (k int64) {
	for i := off / pageSize; i*pageSize < off+length; i++ {
		if int(i) >= len(n.holds) || !n.holds[i] {
			k++
		}
	}
	return k
}

// hold makes the pages of a range take space. The range is inside the size.
func (n *inode) hold(off, length int64) {
	for i := off / pageSize; i*pageSize < off+length; i++ {
		if !n.holds[i] {
			n.holds[i] = true
			n.held++
		}
	}
}

// readAt copies from a range inside the size.
func (n *inode) readAt(p []byte, off int64) {
	if off < int64(len(n.mem)) {
		k := copy(p, n.mem[off:])
		p, off = p[k:], off+int64(k)
	}
	for len(p) > 0 {
		at := off % pageSize
		k := copy(p, content(n.live[off/pageSize])[at:])
		p, off = p[k:], off+int64(k)
	}
}

// writeAt copies into a range inside the size, as one version of each page.
func (n *inode) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		i, at := int(off/pageSize), int(off%pageSize)
		k := min(len(p), pageSize-at)
		n.capturePage(i)
		pg := new(page)
		if k < pageSize {
			*pg = *content(n.live[i])
		}
		copy(pg[at:], p[:k])
		n.put(i, sectorsOf(at, k), pg)
		p, off = p[k:], off+int64(k)
	}
}

// zero is writeAt of zeroes.
func (n *inode) zero(off, length int64) {
	for length > 0 {
		i, at := int(off/pageSize), int(off%pageSize)
		k := int(min(length, int64(pageSize-at)))
		n.capturePage(i)
		pg := &zeroPage
		if k < pageSize {
			pg = new(page)
			*pg = *content(n.live[i])
			clear(pg[at : at+k])
		}
		n.put(i, sectorsOf(at, k), pg)
		off, length = off+int64(k), length-int64(k)
	}
}

// sectorsOf returns the sectors of a page that n bytes from at touch.
func sectorsOf(at, n int) uint8 {
	first, last := at/sectorSize, (at+n-1)/sectorSize
	return uint8((1<<(last-first+1) - 1) << first)
}

// put makes a page the newest version.
func (n *inode) put(i int, sectors uint8, pg *page) {
	n.live[i] = pg
	n.pending = append(n.pending, version{i, sectors, pg})
	if (i+1)*pageSize <= len(n.mem) {
		copy(n.mem[i*pageSize:], pg[:])
	}
}

// capture makes what the mapped memory holds now the newest version.
func (n *inode) capture() {
	for i := range len(n.mem) / pageSize {
		n.capturePage(i)
	}
}

func (n *inode) capturePage(i int) {
	if (i+1)*pageSize > len(n.mem) {
		return
	}
	mem, was := (*page)(n.mem[i*pageSize:]), content(n.live[i])
	if *mem == *was {
		return
	}
	pg := new(page)
	*pg = *mem
	var sectors uint8
	for s := range pageSize / sectorSize {
		if [sectorSize]byte(pg[s*sectorSize:]) != [sectorSize]byte(was[s*sectorSize:]) {
			sectors |= 1 << s
		}
	}
	n.live[i] = pg
	n.pending = append(n.pending, version{i, sectors, pg})
}

// moment is a place in a file's history: so many versions and sizes there were.
type moment struct{ versions, sizes int }

func (n *inode) now() moment {
	n.capture()
	return moment{n.done.versions + len(n.pending), n.done.sizes + len(n.sizes)}
}

// sync makes everything stable.
func (n *inode) sync() { n.syncUpTo(n.now()) }

// syncUpTo makes stable what there was at a moment.
func (n *inode) syncUpTo(m moment) {
	n.capture()
	if k := m.versions - n.done.versions; k > 0 {
		apply(n.stable, n.pending[:k], func(v version) uint8 { return v.sectors })
		n.pending, n.done.versions = n.pending[k:], m.versions
	}
	if k := m.sizes - n.done.sizes; k > 0 {
		n.stableSize = n.sizes[k-1]
		n.sizes, n.done.sizes = n.sizes[k:], m.sizes
	}
}

// forget drops what is not stable from the lists.
func (n *inode) forget() {
	n.done = n.now()
	n.pending, n.sizes, n.stableSize = nil, nil, n.size
}

// failSync makes a part stable and forgets that the rest is not. Some of the pages are dropped
// from memory altogether, but not those that a process has mapped.
func (n *inode) failSync(random func() uint32) {
	n.capture()
	apply(n.stable, n.pending, func(v version) uint8 { return v.sectors & uint8(random()) })
	for _, v := range n.pending {
		if (v.index+1)*pageSize > len(n.mem) && random()%2 == 0 {
			n.live[v.index] = n.stable[v.index]
		}
	}
	n.forget()
}

// apply puts the kept sectors of versions into a table.
func apply(table []*page, versions []version, keep func(version) uint8) {
	var own map[int]*page // pages of the table made here, which may be changed
	for _, v := range versions {
		sectors := keep(v)
		if sectors == 0 {
			continue
		}
		if sectors == allSectors {
			table[v.index] = v.data
			delete(own, v.index)
			continue
		}
		pg := own[v.index]
		if pg == nil {
			if own == nil {
				own = map[int]*page{}
			}
			pg = new(page)
			*pg = *content(table[v.index])
			own[v.index], table[v.index] = pg, pg
		}
		for s := range pageSize / sectorSize {
			if sectors&(1<<s) != 0 {
				copy(pg[s*sectorSize:(s+1)*sectorSize], v.data[s*sectorSize:])
			}
		}
	}
}

// mapMemory maps the first n bytes. It is real memory outside of the Go heap: the race detector
// must not see what hardware would not, and touching it after unmap is a fault.
func (n *inode) mapMemory(length int64) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, pagesOf(length)*pageSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	for i := range len(mem) / pageSize {
		if n.live[i] != nil && n.live[i] != &zeroPage {
			copy(mem[i*pageSize:], n.live[i][:])
		}
	}
	n.mem = mem
	n.cleanup = runtime.AddCleanup(n, func(m []byte) { _ = unix.Munmap(m) }, mem)
	return mem[:length:length], nil
}

// unmap ends the mapping.
func (n *inode) unmap() {
	if n.mem == nil {
		return
	}
	n.capture()
	n.cleanup.Stop()
	mem := n.mem
	n.mem = nil
	_ = unix.Munmap(mem)
}
