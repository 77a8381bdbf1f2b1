package checkpoint

// array is a persistent array of leaves, each a page, in which snapshots are taken while it
// changes. Directories and leaves are read from the map file when they are first needed and stay
// in memory, outside the Go heap. (Nothing is evicted: what the docs promise about memory holds
// with everything resident.)
//
// A snapshot is frozen in an instant: what was changed since the last one is set aside, and from
// then on whoever changes a directory or a leaf that belongs to it copies it first, unless it was
// written already. So its image is exactly that of the freeze, and nobody waits for it. snapshot.go
// writes it.
//
// The store's mutex guards every field. Only write runs without it: it reads directories and
// leaves set aside, which nobody changes, and takes the mutex to note where leaves went.
//
// ensure loads what the other methods touch: they cannot fail after it, whatever happens in
// between. Indexes that an ensure accepted are inside the array.
type array struct {
	file     *pageFile
	mem      *arena
	format   leafFormat
	leafKind pageKind
	dirKind  pageKind
	arrived  func(leaf uint64) error // makes a leaf what it should be that was just loaded; or nil

	roots  table[root]
	leaves uint64 // length
	stored uint64 // leaves that lie in pages, in the last durable snapshot
	wrote  uint64 // the same in the snapshot that was written last, be it durable yet or not
	bytes  int64  // memory of directories and leaves
	buf    *page  // for reading

	stamp   uint64   // of the changes made now
	changed []change // directories that carry the stamp
	frozen  []change // directories of the snapshot being written
	active  bool     // a snapshot is being written
}

// root is one directory of an array: where it lies and, once loaded or changed, what it says.
type root struct {
	at  ref // zero: empty in the last durable snapshot
	dir *directory
}

// change is a changed directory. The last fields are filled in by the snapshot that writes it.
type change struct {
	index uint64
	dir   *directory

	at     ref
	stored uint64
}

// init makes an array of so many leaves out of what a catalog says.
func (a *array) init(f *pageFile, mem *arena, c catalogArray, leaves uint64) error {
	a.file, a.mem, a.stamp, a.buf = f, mem, 2, mem.page()
	if need := (leaves + fanout - 1) / fanout; uint64(len(c.roots)) > need {
		return corrupt(mapName, 0, "number of directories", len(c.roots), need)
	}
	a.extend(leaves)
	a.stored, a.wrote = c.pages, c.pages
	for i, at := range c.roots {
		a.roots.rows[i].at = at
	}
	return nil
}

// extend makes the array at least so many leaves long; the new ones are empty.
func (a *array) extend(leaves uint64) {
	if leaves > a.leaves {
		a.leaves = leaves
		a.roots.grow((leaves + fanout - 1) / fanout)
	}
}

// close gives back what does not belong to the arena.
func (a *array) close() { a.roots.close() }

// pages returns the number of leaves that lie in pages: of the snapshot under way once it is
// written, for its catalog; else of the last durable one.
func (a *array) pages() uint64 { return a.wrote }

// memory returns the bytes of the directories and leaves in memory.
func (a *array) memory() int64 { return a.bytes }

// ensureLeaves loads the leaves from first to last, which may lie outside the array.
func (a *array) ensureLeaves(first, last uint64) error {
	if first > last || last >= a.leaves {
		return corrupt(mapName, 0, "place named", last, a.leaves)
	}
	for i := first; i <= last; i++ {
		r := &a.roots.rows[i/fanout]
		if r.dir == nil {
			if r.at == (ref{}) {
				i |= fanout - 1 // all of the directory is empty
				continue
			}
			if err := a.loadDirectory(r); err != nil {
				return err
			}
		}
		if d, j := r.dir, i%fanout; d.pages[j] == nil && d.elems[j].stored() {
			if err := a.loadLeaf(d, j); err != nil {
				return err
			}
			if err := a.arrive(d, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrive completes the loading of a leaf, or undoes it.
func (a *array) arrive(d *directory, i uint64) error {
	if a.arrived == nil {
		return nil
	}
	err := a.arrived(i)
	if err != nil {
		a.dropPage(d.pages[i%fanout])
		d.pages[i%fanout] = nil
	}
	return err
}

// ensureDirectory loads the directory of a leaf, so that resident knows of it.
func (a *array) ensureDirectory(i uint64) error {
	if i >= a.leaves {
		return corrupt(mapName, 0, "place named", i, a.leaves)
	}
	if r := &a.roots.rows[i/fanout]; r.dir == nil && r.at != (ref{}) {
		return a.loadDirectory(r)
	}
	return nil
}

func (a *array) loadDirectory(r *root) error {
	if err := a.file.read(r.at, a.dirKind, a.buf[:]); err != nil {
		return err
	}
	d := a.newDirectory()
	if err := d.decode(a.buf[:], int64(r.at.page)*pageSize, a.format); err != nil {
		a.dropDirectory(d)
		return err
	}
	r.dir = d
	return nil
}

func (a *array) loadLeaf(d *directory, j uint64) error {
	e := d.elems[j]
	at := e.ref()
	if err := a.file.read(at, a.leafKind, a.buf[:]); err != nil {
		return err
	}
	p := a.newPage()
	off := int64(at.page) * pageSize
	err := a.format.decode(p, a.buf[:], off)
	if n := a.format.note(p); err == nil && n != e.note() {
		err = corrupt(mapName, off, "note that the directory has of a page", e.note(), n)
	}
	if err != nil {
		a.dropPage(p)
		return err
	}
	d.pages[j] = p
	return nil
}

// leaf returns a leaf that is in memory: its page or, if that is nil, an element that is empty or
// inline.
func (a *array) leaf(i uint64) (*page, element) {
	r := &a.roots.rows[i/fanout]
	if r.dir == nil {
		if r.at != (ref{}) {
			invariant("a directory is used that was not loaded")
		}
		return nil, element{}
	}
	p, e := r.dir.pages[i%fanout], r.dir.elems[i%fanout]
	if p == nil && e.stored() {
		invariant("a leaf is used that was not loaded")
	}
	return p, e
}

// resident reports whether leaf may be called.
func (a *array) resident(i uint64) bool {
	r := &a.roots.rows[i/fanout]
	if r.dir == nil {
		return r.at == (ref{})
	}
	return r.dir.pages[i%fanout] != nil || !r.dir.elems[i%fanout].stored()
}

// page returns a leaf's page if it is in memory; else nil.
func (a *array) page(i uint64) *page {
	if i >= a.leaves {
		return nil
	}
	d := a.roots.rows[i/fanout].dir
	if d == nil {
		return nil
	}
	return d.pages[i%fanout]
}

// edit returns a leaf as a page that may be changed.
func (a *array) edit(i uint64) *page {
	d := a.roots.rows[i/fanout].dir
	if d == nil || d.stamp != a.stamp {
		d = a.claim(i / fanout)
	}
	j := i % fanout
	if p := d.pages[j]; p != nil && d.changed.has(j) {
		return p
	}
	return a.open(d, j)
}

// replaceLeaf makes a leaf empty or inline.
func (a *array) replaceLeaf(i uint64, e element) {
	d := a.roots.rows[i/fanout].dir
	if d == nil || d.stamp != a.stamp {
		d = a.claim(i / fanout)
	}
	j := i % fanout
	p := d.pages[j]
	if a.leave(d, j) && p != nil {
		a.dropPage(p)
	}
	d.pages[j], d.elems[j] = nil, e
}

// claim makes the directory with an index one that may be changed: a new one, a copy of one that
// the snapshot under way needs, or the one that is there.
func (a *array) claim(index uint64) *directory {
	r := &a.roots.rows[index]
	d := r.dir
	switch {
	case d == nil:
		if r.at != (ref{}) {
			invariant("a directory is changed that was not loaded")
		}
		d = a.newDirectory()
	case a.active && d.stamp == a.stamp-1:
		old := d
		d = a.newDirectory()
		*d = *old
		d.held, d.changed, d.written, d.frozen = old.changed, bitset{}, bitset{}, old
	}
	d.stamp = a.stamp
	r.dir = d
	a.changed = append(a.changed, change{index: index, dir: d})
	return d
}

// open makes a leaf that was not changed yet, or has no page, one with a page of its own.
func (a *array) open(d *directory, j uint64) *page {
	p, e := d.pages[j], d.elems[j]
	switch mine := a.leave(d, j); {
	case p == nil:
		p = a.newPage()
		if e.inline() {
			a.format.fill(p, e.a)
		}
	case !mine:
		old := p
		p = a.rawPage()
		*p = *old
	}
	d.pages[j], d.elems[j] = p, element{}
	return p
}

// leave marks a leaf as changed, gives up the page that it has on disk, and reports whether the
// one it has in memory is its own: not shared with the snapshot under way, or no longer.
func (a *array) leave(d *directory, j uint64) bool {
	if d.changed.has(j) {
		return true
	}
	d.changed.set(j)
	if d.held.has(j) {
		d.held.clear(j)
		if !d.frozen.written.has(j) {
			return false
		}
		d.frozen.pages[j] = nil
		return true
	}
	if e := d.elems[j]; e.stored() {
		if d.pages[j] == nil {
			invariant("a leaf is changed that was not loaded")
		}
		a.file.free(e.ref())
	}
	return true
}

// eachPage calls fn for every page of the map file that the array takes in its current state,
// less what changed since the last snapshot. It loads the directories; the leaves stay where they
// are.
func (a *array) eachPage(fn func(pageKind, ref) error) error {
	for i := range a.roots.rows {
		r := &a.roots.rows[i]
		if r.at == (ref{}) {
			continue
		}
		if r.dir == nil {
			if err := a.loadDirectory(r); err != nil {
				return err
			}
		}
		if err := fn(a.dirKind, r.at); err != nil {
			return err
		}
		for j := range r.dir.elems {
			if e := r.dir.elems[j]; e.stored() && !r.dir.changed.has(uint64(j)) && !r.dir.held.has(uint64(j)) {
				if err := fn(a.leafKind, e.ref()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (a *array) newPage() *page {
	a.bytes += pageSize
	return a.mem.page()
}

func (a *array) rawPage() *page {
	a.bytes += pageSize
	return a.mem.rawPage()
}

func (a *array) dropPage(p *page) {
	a.bytes -= pageSize
	a.mem.putPage(p)
}

func (a *array) newDirectory() *directory {
	a.bytes += int64(a.mem.dirs.size)
	return a.mem.directory()
}

func (a *array) dropDirectory(d *directory) {
	a.bytes -= int64(a.mem.dirs.size)
	a.mem.putDirectory(d)
}
