package checkpoint

import "sync"

// pageKind salts the checksum of a page, so that a page of one kind never passes for another.
type pageKind uint32

// Kinds of pages in the map file. The numbers are part of the format; zero is no kind.
const (
	kindMapLeaf pageKind = iota + 1
	kindMapDirectory
	kindRefsLeaf
	kindRefsDirectory
	kindSumsLeaf
	kindSumsDirectory
	kindDead
	kindCatalog
)

// pageRun is a run of n pages of the map file.
type pageRun struct {
	page, n uint64
}

type pageFile struct {
	file File
	mu   sync.Mutex
}

// openPageFile takes the map file whose catalog says that it has pages pages (page 0 included)
// and which of them are free.
func openPageFile(f File, pages uint64, free []pageRun) (*pageFile, error) { panic(1) }

func (w *pageFile) freeze()                           {}           // a snapshot begins: what was freed so far is free once it is durable
func (w *pageFile) commit()                           {}           // it is durable
func (w *pageFile) abort()                            {}           // it failed: its pages are free again
func (w *pageFile) pages() uint64                     { panic(1) } // length for the catalog
func (w *pageFile) freeList() []pageRun               { panic(1) } // free once the snapshot under way is durable, for its catalog
func (w *pageFile) free(at ref)                       {}           // not needed by the next snapshot to begin
func (w *pageFile) supersede(x pageRun)               {}           // not needed by the snapshot under way
func (w *pageFile) reserve(n uint64) pageRun          { panic(1) } // n adjacent pages (catalog)
func (w *pageFile) writeAt(x pageRun, p []byte) error { panic(1) } // raw, no checksum (catalog)

// write stores one page; read checks it.
func (w *pageFile) write(kind pageKind, gen uint32, content []byte) (ref, error) { panic(1) }
func (w *pageFile) read(at ref, kind pageKind, content []byte) error             { panic(1) }
