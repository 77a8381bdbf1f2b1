package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"
)

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
)

// pageFile is the map file: pages that are never overwritten while a durable snapshot may name
// them. A page's checksum lies in the ref of the page that names it, so no page vouches for
// itself, and covers kind, generation, number and content, so that none passes for another.
//
// What is freed stays in place until a snapshot that does not need it is durable:
//
//	free       not needed by the next snapshot to begin; waits for its freeze
//	supersede  not needed by the snapshot under way; waits for its commit
//
// Every page written between freeze and commit belongs to that snapshot; abort frees them all.
// abort is right only while no superblock was written that may name the snapshot. Where that is
// in doubt the store is poisoned and neither commit nor abort is called.
//
// mu guards the allocation; no I/O is done under it. It may be taken under the store's mutex,
// never the other way round.
type pageFile struct {
	file File

	mu     sync.Mutex
	taken  pageBits
	cursor uint64 // where the search for free pages goes on
	least  uint64 // shorter runs of free pages are passed over

	freed      []uint64     // since the last freeze
	frozen     []uint64     // until then; free when the snapshot is durable
	superseded []pageExtent // by the snapshot under way; free when it is durable
	fresh      []pageExtent // taken since the last freeze, commit or abort
}

// leastRun is the shortest run of free pages worth a write of its own while the file is not
// mostly holes.
const leastRun = 8

// openPageFile takes the map file of a catalog that says how many pages it has, page 0 included,
// and which of them are free: ascending and inside the file.
func openPageFile(f File, pages uint64, free []pageExtent) (*pageFile, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if have := uint64(size) / pageSize; pages > max(have, 1) {
		return nil, corrupt(mapName, size, "length in pages", have, pages)
	}
	w := &pageFile{file: f}
	w.taken.grow(max(pages, 1))
	for i := range w.taken.n {
		w.taken.set(i)
	}
	for _, x := range free {
		for i := x.page; i < x.page+x.n; i++ {
			w.taken.clear(i)
		}
	}
	w.rewind()
	return w, nil
}

// freeze begins a snapshot: it does not need what was freed so far.
func (w *pageFile) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.freed, w.frozen = w.frozen[:0], w.freed
	w.fresh = w.fresh[:0]
	w.rewind()
}

// commit ends a snapshot that is durable.
func (w *pageFile) commit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.frozen {
		w.taken.clear(p)
	}
	w.clear(w.superseded)
	w.frozen, w.superseded, w.fresh = w.frozen[:0], w.superseded[:0], w.fresh[:0]
	w.taken.trim()
}

// abort ends a snapshot that failed and that nothing durable names.
func (w *pageFile) abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear(w.fresh)
	w.freed = append(w.freed, w.frozen...)
	w.frozen, w.superseded, w.fresh = w.frozen[:0], w.superseded[:0], w.fresh[:0]
	w.taken.trim()
}

// free gives up a page that the last snapshot to begin may need and the next one will not.
func (w *pageFile) free(at ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.freed = append(w.freed, at.page)
}

// supersede gives up pages that the snapshot under way replaces.
func (w *pageFile) supersede(x pageExtent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.superseded = append(w.superseded, x)
}

// length returns the pages of the file, page 0 included, for the catalog.
func (w *pageFile) length() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken.n
}

// freeList returns what will be free once the snapshot under way is durable, for its catalog.
func (w *pageFile) freeList() []pageExtent {
	w.mu.Lock()
	defer w.mu.Unlock()
	after := w.taken.clone()
	for _, p := range w.frozen {
		after.clear(p)
	}
	for _, x := range w.superseded {
		after.clearRun(x)
	}
	return after.holes(maxFree)
}

// isFree reports whether no snapshot, and nothing in memory, uses a page.
func (w *pageFile) isFree(page uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.taken.has(page)
}

// take returns up to most adjacent free pages, in holes of some length from the front of the file
// on, or at its end.
func (w *pageFile) take(most uint64) pageExtent {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.taken.hole(w.cursor, min(w.least, most), most)
	if x.n == 0 {
		x = pageExtent{w.taken.n, most}
	}
	w.cursor = x.page + x.n
	w.keep(x)
	return x
}

// reserve returns exactly n adjacent pages, for the catalog.
func (w *pageFile) reserve(n uint64) pageExtent {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.taken.hole(1, n, n)
	if x.n == 0 {
		x = pageExtent{w.taken.n, n}
	}
	w.keep(x)
	return x
}

// append returns n pages at the end of the file.
func (w *pageFile) append(n uint64) pageExtent {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := pageExtent{w.taken.n, n}
	w.keep(x)
	return x
}

// unused takes back the last of pages that were given and that nobody wrote.
func (w *pageFile) unused(x pageExtent) {
	if x.n == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.fresh {
		if f := &w.fresh[i]; f.page <= x.page && x.page+x.n == f.page+f.n {
			f.n -= x.n
			w.taken.clearRun(x)
			w.taken.trim()
			return
		}
	}
}

// keep marks pages as taken by the snapshot under way. The caller holds mu.
func (w *pageFile) keep(x pageExtent) {
	w.taken.grow(x.page + x.n)
	w.taken.setRun(x)
	w.fresh = append(w.fresh, x)
}

func (w *pageFile) clear(xs []pageExtent) {
	for _, x := range xs {
		w.taken.clearRun(x)
	}
}

// rewind lets the search for free pages begin anew. While at least half of the file is in use
// short holes are left alone, because large writes matter more than the file's length.
func (w *pageFile) rewind() {
	w.cursor, w.least = 1, leastRun
	if w.taken.used < w.taken.n/2 {
		w.least = 1
	}
}

// write stores one page and returns what to name it by. content is one page long.
func (w *pageFile) write(kind pageKind, gen uint32, content []byte) (ref, error) {
	x := w.take(1)
	at := ref{page: x.page, gen: gen, crc: pageSum(kind, gen, x.page, content)}
	return at, w.writeAt(x.page, content)
}

// writeAt stores raw pages from a page on. Nothing durable names them yet, so neither order nor
// completeness matters until the sync that precedes the superblock.
func (w *pageFile) writeAt(page uint64, content []byte) error {
	_, err := w.file.WriteAt(content, int64(page)*pageSize)
	return err
}

// read loads the page that a ref names and checks it. The ref comes from disk and may name
// anything.
func (w *pageFile) read(at ref, kind pageKind, content []byte) error {
	if n := w.length(); at.page == 0 || at.page >= n {
		return corrupt(mapName, 0, "number of a page", at.page, "1 to the file's length")
	}
	off := int64(at.page) * pageSize
	if w.isFree(at.page) {
		return corrupt(mapName, off, "page in use", "in the list of free pages", "not there")
	}
	if _, err := w.file.ReadAt(content, off); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return corrupt(mapName, off, "page", "behind the end of the file", "there")
		}
		return err
	}
	if found := pageSum(kind, at.gen, at.page, content); found != at.crc {
		return corruptSum(mapName, off, kind.String(), found, at.crc)
	}
	return nil
}

// pageSum is the checksum of a page (docs/FORMAT.md, "Pages").
func pageSum(kind pageKind, gen uint32, page uint64, content []byte) uint32 {
	var head [12]byte
	binary.LittleEndian.PutUint32(head[0:], gen)
	binary.LittleEndian.PutUint64(head[4:], page)
	return crc32.Update(crc32.Update(uint32(kind), castagnoli, head[:]), castagnoli, content)
}

func (k pageKind) String() string {
	switch k {
	case kindMapLeaf:
		return "page of the block map"
	case kindMapDirectory:
		return "directory of the block map"
	case kindRefsLeaf:
		return "page of the reference counts"
	case kindRefsDirectory:
		return "directory of the reference counts"
	case kindSumsLeaf:
		return "page of the payload checksums"
	case kindSumsDirectory:
		return "directory of the payload checksums"
	case kindDead:
		return "page of death records"
	}
	return "page"
}
