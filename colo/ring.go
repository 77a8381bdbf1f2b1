package colo

import (
	"cmp"
	"maps"
	"slices"
)

// Epoch numbers what was written between two seals.
type Epoch uint64

// Ring is one queue of one of the VM's disks, both counted from 0.
type Ring struct{ Disk, Queue int }

// Digest sums a ring's memory and indices, so that two memories can be told apart by it. The upper half is
// the index that the backend goes on from. The lower half is a checksum of what the backend itself has
// written (the used ring and its index; of a packed ring the half that the driver comes to last), or 0:
// nothing can be said of it. What the guest may change while the ring is quiet stays out: QEMU lets the vCPUs
// go on before a backend gets to look at a ring that was started, and a digest that the guest can upset would
// poison without need.
type Digest uint64

// agrees says whether two digests may be of the same memory.
func (d Digest) agrees(e Digest) bool {
	const content = 1<<32 - 1
	return d>>32 == e>>32 && (d&content == e&content || d&content == 0 || e&content == 0)
}

// Digests are the digests of rings at one time. They are never changed after they were given.
type Digests map[Ring]Digest

// with is a copy with one digest more.
func (d Digests) with(r Ring, digest Digest) Digests {
	c := maps.Clone(d)
	if c == nil {
		c = Digests{}
	}
	c[r] = digest
	return c
}

// without is a copy with one less.
func (d Digests) without(r Ring) Digests {
	if _, ok := d[r]; !ok {
		return d
	}
	c := maps.Clone(d)
	delete(c, r)
	return c
}

// sorted lists the keys in order, so that equal states give equal actions.
func sorted[V any](m map[Ring]V) []Ring {
	return slices.SortedFunc(maps.Keys(m), func(a, b Ring) int {
		return cmp.Or(cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Queue, b.Queue))
	})
}
