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

// Digest sums a ring's memory and indices, so that two memories can be told apart by it: addresses, what the
// backend itself writes (the used ring and its index) and the index that it goes on from. What the guest may
// change while the ring is quiet stays out: QEMU lets the vCPUs go on before a backend gets to look at a ring
// that was started, and a digest that the guest can upset would poison without need.
type Digest uint64

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
