package checkpoint

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is 4 KiB of memory outside the Go heap, aligned to its size.
type page [pageSize]byte

// words and pairs are a page seen as the numbers that it holds in memory. On disk every number is
// little-endian; the formats of leaves (leaf.go) translate.
//
// All of these are slices and not pointers to arrays: an index into the latter first loads the
// page's first byte, to see that the pointer is not nil, and in a large map each such load has to
// wait for memory.
func (p *page) words() []uint64 { return unsafe.Slice((*uint64)(unsafe.Pointer(p)), pageSize/8) }
func (p *page) pairs() []uint32 { return unsafe.Slice((*uint32)(unsafe.Pointer(p)), pageSize/4) }
func (p *page) bytes() []byte   { return unsafe.Slice((*byte)(unsafe.Pointer(p)), pageSize) }

// arena hands out memory outside the Go heap, which the garbage collector neither scans nor
// counts, and recycles what is given back. It returns nothing to the system: the high water mark
// of a store's map is soon reached again.
//
// Memory that the system refuses is a panic, as it is for the Go heap. How much is asked for is
// bounded by the limits of a volume, so no outsider can cause it on a machine that fits its disk.
//
// The store's mutex guards it.
type arena struct {
	pages freeList
	dirs  freeList
}

// arenaChunk is what an arena takes from the system at a time, in bytes: a huge page. (The map of a
// large disk is touched at random. In small pages each touch would cost a walk of the page tables,
// and those do not fit into the processor's caches.)
const arenaChunk = 2 << 20

func newArena() *arena {
	return &arena{
		pages: freeList{size: pageSize},
		dirs:  freeList{size: unsafe.Sizeof(directory{})},
	}
}

// page returns a zeroed page; rawPage one of any content.
func (a *arena) page() *page    { return (*page)(a.pages.zeroed()) }
func (a *arena) rawPage() *page { return (*page)(a.pages.get()) }

// putPage takes back a page that nobody refers to any more.
func (a *arena) putPage(p *page) { a.pages.put(unsafe.Pointer(p)) }

func (a *arena) directory() *directory     { return (*directory)(a.dirs.zeroed()) }
func (a *arena) putDirectory(d *directory) { a.dirs.put(unsafe.Pointer(d)) }

// used returns the bytes handed out.
func (a *arena) used() int64 { return a.pages.used() + a.dirs.used() }

// close gives everything back to the system; nothing handed out may be used any more.
func (a *arena) close() {
	a.pages.close()
	a.dirs.close()
}

// freeList is memory in pieces of one size: those given back, chained through their first word,
// and those never used.
type freeList struct {
	size  uintptr
	idle  unsafe.Pointer
	fresh []byte
	taken [][]byte // from the system
	out   int64    // pieces handed out
}

func (l *freeList) used() int64 { return l.out * int64(l.size) }

func (l *freeList) get() unsafe.Pointer {
	l.out++
	if p := l.idle; p != nil {
		l.idle = *(*unsafe.Pointer)(p)
		return p
	}
	if uintptr(len(l.fresh)) < l.size {
		l.fresh = mapChunk(len(l.taken) > 0)
		l.taken = append(l.taken, l.fresh)
	}
	p := unsafe.Pointer(unsafe.SliceData(l.fresh))
	l.fresh = l.fresh[l.size:]
	return p
}

func (l *freeList) zeroed() unsafe.Pointer {
	recycled := l.idle != nil
	p := l.get()
	if recycled {
		clear(unsafe.Slice((*byte)(p), l.size))
	}
	return p
}

func (l *freeList) put(p unsafe.Pointer) {
	l.out--
	*(*unsafe.Pointer)(p) = l.idle
	l.idle = p
}

func (l *freeList) close() {
	for _, m := range l.taken {
		unmapChunk(unsafe.Pointer(unsafe.SliceData(m)), arenaChunk)
	}
	*l = freeList{size: l.size}
}

// mapMemory takes n zeroed bytes from the system, which cost nothing until they are touched.
func mapMemory(n int) []byte {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		invariant(fmt.Sprintf("the system refuses %d bytes of memory: %v", n, err))
	}
	return m
}

// mapChunk takes zeroed memory for an arena, aligned to its size. A huge page takes all of it from
// the system at the first touch: small stores do without.
func mapChunk(huge bool) []byte {
	p, err := unix.MmapPtr(-1, 0, nil, 2*arenaChunk, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		invariant(fmt.Sprintf("the system refuses %d bytes of memory: %v", arenaChunk, err))
	}
	before := -uintptr(p) % arenaChunk
	m := unsafe.Slice((*byte)(unsafe.Add(p, before)), arenaChunk)
	unmapChunk(p, before)
	unmapChunk(unsafe.Add(p, before+arenaChunk), arenaChunk-before)
	if huge {
		_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // where there are none small ones do
	}
	return m
}

func unmapChunk(p unsafe.Pointer, n uintptr) {
	if n == 0 {
		return
	}
	if err := unix.MunmapPtr(p, n); err != nil {
		invariant("memory that was mapped cannot be unmapped")
	}
}

func unmapMemory(m []byte) {
	if err := unix.Munmap(m); err != nil {
		invariant("memory that was mapped cannot be unmapped")
	}
}

// table is an array outside the Go heap that grows without copying: the system moves its pages.
// T holds no pointers into the Go heap. A pointer to an element is good until the next grow.
type table[T any] struct {
	rows []T
	mem  []byte
}

// grow makes the table at least n rows long. New rows are zero.
func (t *table[T]) grow(n uint64) {
	if n <= uint64(len(t.rows)) {
		return
	}
	var row T
	size := (int(n)*int(unsafe.Sizeof(row)) + pageSize - 1) &^ (pageSize - 1)
	switch {
	case t.mem == nil:
		t.mem = mapMemory(size)
	case size > len(t.mem):
		m, err := unix.Mremap(t.mem, size, unix.MREMAP_MAYMOVE)
		if err != nil {
			invariant(fmt.Sprintf("the system refuses %d bytes of memory: %v", size, err))
		}
		t.mem = m
	}
	t.rows = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.mem))), n)
}

// close gives the memory back.
func (t *table[T]) close() {
	if t.mem != nil {
		unmapMemory(t.mem)
		*t = table[T]{}
	}
}
