package checkpoint

import (
	"slices"
	"sync"
)

// Reading ahead brings pages into the page cache with many reads at a time, so that loading the
// leaves one by one, with the store's mutex held, waits for none. It is a hint and has no errors.

// readAhead has the pages of leaves read, and of their directories, which it loads. mu guards the
// array.
func (a *array) readAhead(leaves []uint64, mu sync.Locker) {
	mu.Lock()
	dirs := a.missingDirectories(leaves)
	mu.Unlock()
	a.file.readAhead(dirs)
	mu.Lock()
	pages := a.missingLeaves(leaves)
	mu.Unlock()
	a.file.readAhead(pages)
}

// missingDirectories lists the pages of directories that are not in memory.
func (a *array) missingDirectories(leaves []uint64) []uint64 {
	var pages []uint64
	for _, i := range leaves {
		if i >= a.leaves {
			continue
		}
		if r := &a.roots.rows[i/fanout]; r.dir == nil && r.at != (ref{}) {
			pages = append(pages, r.at.page)
		}
	}
	return pages
}

// missingLeaves lists the pages of leaves that are not in memory, and loads their directories.
func (a *array) missingLeaves(leaves []uint64) []uint64 {
	var pages []uint64
	for _, i := range leaves {
		if a.ensureDirectory(i) != nil || a.resident(i) {
			continue // who needs it will see the error
		}
		pages = append(pages, a.roots.rows[i/fanout].dir.elems[i%fanout].ref().page)
	}
	return pages
}

// storedLeaves lists the leaves that lie in pages, of the directories that are in memory.
func (a *array) storedLeaves() []uint64 {
	var all []uint64
	for i := range a.roots.rows {
		if d := a.roots.rows[i].dir; d != nil && d.stored > 0 {
			for j := range d.elems {
				if d.elems[j].stored() {
					all = append(all, uint64(i*fanout+j))
				}
			}
		}
	}
	return all
}

// aheader is implemented by files that can read into a cache.
type aheader interface{ ReadAhead(off, n int64) }

// aheadGap is how many pages that nobody wants are read for the sake of one long read.
const aheadGap = 16

// readAhead has pages read into the cache, if there is one.
func (w *pageFile) readAhead(pages []uint64) {
	f, ok := w.file.(aheader)
	if !ok || len(pages) == 0 {
		return
	}
	slices.Sort(pages)
	first, end := pages[0], pages[0]+1
	for _, p := range pages[1:] {
		if p > end+aheadGap {
			f.ReadAhead(int64(first)*pageSize, int64(end-first)*pageSize)
			first = p
		}
		end = p + 1
	}
	f.ReadAhead(int64(first)*pageSize, int64(end-first)*pageSize)
}

// noLock stands for a mutex where nobody else is.
type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}
