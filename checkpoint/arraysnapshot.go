package checkpoint

import (
	"slices"
	"sync"
)

// A snapshot of an array goes freeze, write, commit; abort instead of commit when it failed. A
// snapshot of the store does each step for every array and for the page file, and between write
// and commit makes the pages, a catalog that names them and a superblock durable, in this order:
// until commit the previous snapshot is untouched on disk.

// freeze begins a snapshot of the array as it is now. It takes the same time whatever changed.
func (a *array) freeze() {
	if a.active {
		invariant("two snapshots of an array at a time")
	}
	a.frozen, a.changed = a.changed, a.frozen[:0]
	a.stamp++
	a.active = true
}

// write writes the leaves and directories that the snapshot changed and returns the refs of all
// its directories. The caller does not hold the store's mutex, mu; write takes it for moments.
// Nothing is synced.
func (a *array) write(gen uint32, mu sync.Locker) ([]ref, error) {
	if gen == 0 || gen == inlineMark {
		invariant("a generation that marks an element")
	}
	slices.SortFunc(a.frozen, func(x, y change) int {
		if x.index < y.index {
			return -1
		}
		return 1
	})
	b := newPageBatch(a.file, gen)
	var err error
	for i := range a.frozen {
		if err = a.writeDirectory(&a.frozen[i], b, mu); err != nil {
			break
		}
	}
	if err = b.close(err); err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	return a.newRoots(), nil
}

// writeDirectory writes the changed leaves of one directory, then the directory.
func (a *array) writeDirectory(c *change, b *pageBatch, mu sync.Locker) error {
	d := c.dir
	var wrote [fanout]element
	for j := d.changed.next(0); j < fanout; j = d.changed.next(j + 1) {
		e, err := a.writeLeaf(d, j, b)
		if err != nil {
			return err
		}
		wrote[j] = e
	}
	a.wroteLeaves(c, &wrote, mu)
	c.at, c.stored = ref{}, 0
	used := false
	for j := range d.elems {
		used = used || !d.elems[j].empty()
		if d.elems[j].stored() {
			c.stored++
		}
	}
	if !used {
		return nil
	}
	p, err := b.next()
	if err != nil {
		return err
	}
	d.encode(p)
	c.at = b.seal(a.dirKind)
	return nil
}

// wroteLeaves notes where leaves went. From here on they need not be copied before a change, and of
// copies that were made only the newer one is needed.
func (a *array) wroteLeaves(c *change, wrote *[fanout]element, mu sync.Locker) {
	mu.Lock()
	defer mu.Unlock()
	d, now := c.dir, a.roots.rows[c.index].dir
	d.written = d.changed
	for j := d.changed.next(0); j < fanout; j = d.changed.next(j + 1) {
		d.elems[j] = wrote[j]
		if p := d.pages[j]; p != nil && now != d && !now.held.has(j) {
			a.dropPage(p)
			d.pages[j] = nil
		}
	}
}

// writeLeaf returns the element that stands for a leaf of the snapshot, after writing its page if
// it needs one.
func (a *array) writeLeaf(d *directory, j uint64, b *pageBatch) (element, error) {
	leaf := d.pages[j]
	if leaf == nil {
		return d.elems[j], nil
	}
	if e, ok := a.format.collapse(leaf); ok {
		return e, nil
	}
	p, err := b.next()
	if err != nil {
		return element{}, err
	}
	a.format.encode(p, leaf)
	return pageElement(b.seal(a.leafKind), a.format.note(leaf)), nil
}

// newRoots returns the snapshot's directories, without the empty ones at the end, and gives up
// those that it replaces.
func (a *array) newRoots() []ref {
	a.wrote = a.stored
	roots := make([]ref, len(a.roots.rows))
	for i := range a.roots.rows {
		roots[i] = a.roots.rows[i].at
	}
	for _, c := range a.frozen {
		if old := roots[c.index]; old != (ref{}) {
			a.file.supersede(pageExtent{old.page, 1})
		}
		roots[c.index] = c.at
		a.wrote += c.stored - c.dir.stored
	}
	n := len(roots)
	for n > 0 && roots[n-1] == (ref{}) {
		n--
	}
	return roots[:n:n]
}

// commit ends the snapshot: it is durable.
func (a *array) commit() {
	for _, c := range a.frozen {
		r := &a.roots.rows[c.index]
		r.at = c.at
		r.dir.stored = c.stored
		if r.dir != c.dir {
			a.merge(r.dir, c.dir)
			a.dropDirectory(c.dir)
			continue
		}
		a.settle(r.dir)
		if r.at == (ref{}) {
			a.dropDirectory(r.dir)
			r.dir = nil
		}
	}
	a.frozen, a.active, a.stored = a.frozen[:0], false, a.wrote
}

// settle marks a directory as unchanged that nobody touched while it was written.
func (a *array) settle(d *directory) {
	for j := d.changed.next(0); j < fanout; j = d.changed.next(j + 1) {
		if p := d.pages[j]; p != nil && !d.elems[j].stored() {
			a.dropPage(p) // the element says it all
			d.pages[j] = nil
		}
	}
	d.changed, d.written = bitset{}, bitset{}
}

// merge tells a directory that was copied while it was written where its leaves went; those that
// were changed again need their place on disk no longer than the snapshot does.
func (a *array) merge(d, from *directory) {
	for j := from.changed.next(0); j < fanout; j = from.changed.next(j + 1) {
		p, e := from.pages[j], from.elems[j]
		held := d.held.has(j)
		if held {
			d.elems[j] = e
		} else if e.stored() {
			a.file.free(e.ref())
		}
		if p == nil || held && e.stored() {
			continue
		}
		a.dropPage(p)
		if held {
			d.pages[j] = nil
		}
	}
	d.held, d.frozen = bitset{}, nil
}

// abort ends the snapshot: it failed, and its changes wait for the next one. The page file's
// abort gives up what was written.
func (a *array) abort() {
	for _, c := range a.frozen {
		r := &a.roots.rows[c.index]
		if r.dir == c.dir {
			c.dir.stamp, c.dir.written = a.stamp, bitset{}
			a.changed = append(a.changed, change{index: c.index, dir: c.dir})
			continue
		}
		a.reclaim(r.dir, c.dir)
		a.dropDirectory(c.dir)
	}
	a.frozen, a.active, a.wrote = a.frozen[:0], false, a.stored
}

// reclaim makes a directory that was copied for the snapshot the only one again.
func (a *array) reclaim(d, from *directory) {
	for j := from.changed.next(0); j < fanout; j = from.changed.next(j + 1) {
		if p := from.pages[j]; p != nil && !d.held.has(j) {
			a.dropPage(p)
		}
		d.changed.set(j)
	}
	d.held, d.frozen = bitset{}, nil
}
