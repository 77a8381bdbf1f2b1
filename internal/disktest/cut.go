package disktest

import (
	"math/rand/v2"
	"slices"
)

// Kind says what ended the process.
type Kind int

// The ends of a process.
const (
	// Kill is the death of the process alone: the kernel still has all it was given.
	Kill Kind = iota
	// PowerCut is the end of everything that is not on the disk.
	PowerCut
)

// Cut returns an independent disk as the next process would find it if this one ended now. This
// disk is not changed. Capacity carries over; hooks, failures and the count of operations do not.
func (d *Disk) Cut(kind Kind) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &Disk{
		rng:  rand.New(rand.NewPCG(d.rng.Uint64(), d.rng.Uint64())),
		boot: d.boot, capacity: d.capacity, open: map[int]*File{}, fd: 1000,
	}
	c.clone(d)
	for _, e := range d.engines {
		e.spill(c)
	}
	if kind == PowerCut {
		c.lose()
	}
	return c
}

// clone copies the files of another disk; those that have neither a name nor could get one back
// are left behind.
func (d *Disk) clone(from *Disk) {
	d.names, d.stable = make([]dirent, len(from.names)), make([]dirent, len(from.stable))
	for i, e := range from.names {
		d.names[i] = dirent{e.name, e.ino.clone()}
	}
	for i, e := range from.stable {
		k := slices.IndexFunc(from.names, func(n dirent) bool { return n.ino == e.ino })
		if k >= 0 {
			d.stable[i] = dirent{e.name, d.names[k].ino}
		} else {
			d.stable[i] = dirent{e.name, e.ino.clone()}
		}
	}
}

func (n *inode) clone() *inode {
	n.capture()
	return &inode{
		device: n.device,
		size:   n.size, live: slices.Clone(n.live), holds: slices.Clone(n.holds), held: n.held,
		stableSize: n.stableSize, sizes: slices.Clone(n.sizes), stable: slices.Clone(n.stable),
		pending: slices.Clone(n.pending),
	}
}

// same returns the clone of an inode of the disk that this one was cloned from.
func (d *Disk) same(from *Disk, ino *inode) *inode {
	for i, e := range from.names {
		if e.ino == ino {
			return d.names[i].ino
		}
	}
	return nil
}

// lose forgets what a power cut may take.
func (d *Disk) lose() {
	d.boot = d.newBootID()
	for _, e := range d.stable {
		if d.find(e.name) == nil && d.rng.Uint32()%2 == 0 {
			d.names = append(d.names, e) // the removal is lost
		}
	}
	d.names = slices.DeleteFunc(d.names, func(e dirent) bool {
		kept := slices.ContainsFunc(d.stable, func(s dirent) bool { return s.name == e.name && s.ino == e.ino })
		return !kept && d.rng.Uint32()%2 == 0
	})
	d.stable = slices.Clone(d.names)
	for _, e := range d.names {
		e.ino.lose(d.rng)
	}
}

// lose makes what is stable, and a choice of what is not, the file's content.
func (n *inode) lose(rng *rand.Rand) {
	choice := chooser(rng, len(n.pending))
	apply(n.stable, n.pending, choice.keep)
	n.pending = nil
	n.setStable(choice.size(n.stableSize, n.sizes))
}

// setStable ends a cut: nothing is pending any more.
func (n *inode) setStable(size int64) {
	n.size, n.stableSize, n.sizes = size, size, nil
	k := pagesOf(size)
	clear(n.stable[k:])
	clear(n.holds[k:])
	n.stable, n.holds, n.held = n.stable[:k], n.holds[:k], 0
	if at := size % pageSize; at != 0 && n.stable[k-1] != nil {
		pg := new(page)
		copy(pg[:at], n.stable[k-1][:])
		n.stable[k-1] = pg
	}
	for i, p := range n.stable {
		if p == &zeroPage {
			n.stable[i] = nil
		}
		n.holds[i] = n.holds[i] || n.stable[i] != nil
		if n.holds[i] {
			n.held++
		}
	}
	n.live = slices.Clone(n.stable)
}

// choice is one way in which a power cut treats a file. Choices that are likely to show a
// mistake come as often as those that are likely to happen.
type choice struct {
	rng    *rand.Rand
	way    uint32
	odds   uint32 // of 256 that a sector or write is kept
	from   int    // first version that may be kept
	to     int    // first that may not
	number int    // of versions seen
}

// The ways.
const (
	keepNothing = iota
	keepAll
	keepPrefix  // as if nothing were reordered
	keepSuffix  // the newest writes without those before
	keepWrites  // each write whole or not at all
	keepSectors // each sector of each write
	numWays
)

func chooser(rng *rand.Rand, versions int) *choice {
	c := &choice{rng: rng, way: rng.Uint32N(numWays), odds: rng.Uint32N(257), to: versions}
	switch c.way {
	case keepPrefix:
		c.to = rng.IntN(versions + 1)
	case keepSuffix:
		c.from = rng.IntN(versions + 1)
	}
	return c
}

func (c *choice) keep(v version) uint8 {
	i := c.number
	c.number++
	switch {
	case c.way == keepNothing || i < c.from || i >= c.to:
		return 0
	case c.way == keepWrites && c.rng.Uint32()%256 >= c.odds:
		return 0
	case c.way == keepSectors:
		return v.sectors & c.bits()
	}
	return v.sectors
}

// bits returns eight bits, each set by the odds.
func (c *choice) bits() (b uint8) {
	r := c.rng.Uint64()
	for i := range 8 {
		if uint32(r>>(8*i)&0xff) < c.odds {
			b |= 1 << i
		}
	}
	return b
}

// size chooses among the sizes that the file had.
func (c *choice) size(stable int64, sizes []int64) int64 {
	switch {
	case c.way == keepNothing || len(sizes) == 0:
		return stable
	case c.way == keepAll:
		return sizes[len(sizes)-1]
	}
	if i := c.rng.IntN(len(sizes) + 1); i > 0 {
		return sizes[i-1]
	}
	return stable
}
