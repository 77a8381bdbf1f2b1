package checkpoint

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is 4 KiB of memory outside the Go heap.
type page [pageSize]byte

// words, pairs and elements are what pages hold; the memory is aligned for all of them.
func (p *page) words() *[pageSize / 8]uint64 { return (*[pageSize / 8]uint64)(unsafe.Pointer(p)) }
func (p *page) pairs() *[pageSize / 4]uint32 { return (*[pageSize / 4]uint32)(unsafe.Pointer(p)) }

// arena hands out zeroed memory outside the Go heap, which the garbage collector neither scans
// nor counts, and recycles what is given back. It does not return memory to the system: the
// highest water mark of a store's map is soon reached again.
//
// Memory that the system refuses is a panic, as it is for the Go heap; no outsider controls how
// much is asked for beyond the named limits of a volume.
//
// The store's mutex guards it.
type arena struct {
	pages freeList // 4 KiB each
	dirs  freeList // directories, 8 KiB each
}

// freeList is memory of one size: what was given back, chained through its first word, and
// what was never used.
type freeList struct {
	size  uintptr
	idle  unsafe.Pointer
	fresh []byte
	used  int64 // pieces handed out
	held  int64 // bytes taken from the system
}

// arenaChunk is what an arena takes from the system at a time.
const arenaChunk = 1 << 20

func newArena() *arena {
	return &arena{
		pages: freeList{size: pageSize},
		dirs:  freeList{size: unsafe.Sizeof(directory{})},
	}
}

// page returns a zeroed page.
func (a *arena) page() *page { return (*page)(a.pages.get()) }

// putPage takes back a page that nobody refers to any more.
func (a *arena) putPage(p *page) { a.pages.put(unsafe.Pointer(p)) }

func (a *arena) directory() *directory     { return (*directory)(a.dirs.get()) }
func (a *arena) putDirectory(d *directory) { a.dirs.put(unsafe.Pointer(d)) }

// used returns the bytes in use; held, those taken from the system.
func (a *arena) used() int64 {
	return a.pages.used*int64(a.pages.size) + a.dirs.used*int64(a.dirs.size)
}

func (a *arena) held() int64 { return a.pages.held + a.dirs.held }

func (l *freeList) get() unsafe.Pointer {
	l.used++
	if p := l.idle; p != nil {
		l.idle = *(*unsafe.Pointer)(p)
		clear(unsafe.Slice((*byte)(p), l.size))
		return p
	}
	if uintptr(len(l.fresh)) < l.size {
		l.fresh = mapMemory(arenaChunk)
		l.held += arenaChunk
	}
	p := unsafe.Pointer(unsafe.SliceData(l.fresh))
	l.fresh = l.fresh[l.size:]
	return p
}

func (l *freeList) put(p unsafe.Pointer) {
	l.used--
	*(*unsafe.Pointer)(p) = l.idle
	l.idle = p
}

// mapMemory takes n zeroed bytes from the system, none of which costs memory until it is touched.
func mapMemory(n int) []byte {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("no memory: %d bytes: %v", n, err))
	}
	return m
}
