package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// Limits of a catalog.
const (
	maxCatalog  = 1 << 28 // bytes
	maxPoints   = 1 << 16
	maxBranches = 1 << 20
	maxRuns     = 1 << 20
	maxRoots    = 1 << 18 // directory pages of an array
	maxFree     = 1 << 22 // free extents of the map file
	maxMapPages = 1 << 40 // pages of the map file
	maxName     = 255     // bytes of a point's name
)

// catalog is the content of a snapshot: the state after every record before start.pos, less
// what the arrays hold in pages of their own. Pure data: the codec below is its only logic.
type catalog struct {
	gen     uint32       // of the snapshot
	start   journalStart // where replay begins
	seq     sequence
	epoch   epoch
	line    line
	size    int64  // bytes of the guest's disk
	slots   uint64 // of the data area
	nextRun uint64
	passed  intentNumber // the last one drawn before; of the incarnation in start

	blocks, refs, sums catalogArray

	points   []catalogPoint // ascending by id
	branches []branch       // ascending by id
	runs     []catalogRun   // in the order of their owners' lists
	free     []pageExtent   // of the map file, ascending
	mapPages uint64         // pages of the map file
}

// catalogArray is the root of a persistent array: its directory pages. A zero ref is a
// directory whose elements are all zero.
type catalogArray struct {
	pages uint64 // leaf pages
	roots []ref
}

// pageExtent is a run of n pages of the map file.
type pageExtent struct{ page, n uint64 }

// catalogPoint is a point as it lies on disk.
type catalogPoint struct {
	id    epoch
	line  line
	time  int64 // nanoseconds since 1970, UTC
	size  int64
	seq   sequence
	flags pointFlags
	name  string
}

// pointFlags are the properties of a point.
type pointFlags uint16

const (
	pointRetired pointFlags = 1 << iota
	pointKeep
	pointLeft       // the state that a rollback left
	pointTemp       // belongs to a process
	pointFlagsKnown = pointRetired | pointKeep | pointLeft | pointTemp
)

// catalogRun is a run of death records as it lies on disk.
type catalogRun struct {
	id     uint64
	owner  epoch // the point it lies behind; 0: none
	flags  runFlags
	blocks uint64
	full   ref
	head   ref
}

// runFlags are the properties of a run.
type runFlags uint32

const (
	runSweep      runFlags = 1 << iota // waits to be swept
	runOpen                            // takes new records
	runFlagsKnown = runSweep | runOpen
)

// Lengths in a catalog: the fixed head, then each section's elements.
const (
	catalogHead      = 176
	catalogPointHead = 40
	catalogBranchLen = 16
	catalogRunLen    = 64
	catalogFreeLen   = 16
)

// encodedLen returns the length of the encoded catalog, a multiple of eight.
func (c *catalog) encodedLen() int {
	n := catalogHead + refLen*(len(c.blocks.roots)+len(c.refs.roots)+len(c.sums.roots))
	for i := range c.points {
		n += catalogPointHead + roundUp8(len(c.points[i].name))
	}
	return n + catalogBranchLen*len(c.branches) + catalogRunLen*len(c.runs) + catalogFreeLen*len(c.free)
}

// pages returns how many pages that is.
func (c *catalog) pages() uint64 { return pagesOf(uint64(c.encodedLen())) }

// encodeCatalog returns the catalog's bytes. Its lists are within their limits.
func encodeCatalog(c *catalog) []byte {
	p := make([]byte, 0, c.encodedLen())
	p = c.appendHead(p)
	for _, a := range [...]*catalogArray{&c.blocks, &c.refs, &c.sums} {
		for _, r := range a.roots {
			p = appendRef(p, r)
		}
	}
	for i := range c.points {
		p = c.points[i].append(p)
	}
	le := binary.LittleEndian
	for _, b := range c.branches {
		p = le.AppendUint32(p, uint32(b.id))
		p = le.AppendUint32(p, uint32(b.from))
		p = le.AppendUint64(p, uint64(b.at))
	}
	for i := range c.runs {
		p = c.runs[i].append(p)
	}
	for _, x := range c.free {
		p = le.AppendUint64(p, x.page)
		p = le.AppendUint64(p, x.n)
	}
	sealHeader(p, magicCatalog, saltCatalog)
	return p
}

// catalogSum is the checksum that the superblock keeps: a catalog does not vouch for itself.
func catalogSum(p []byte) uint32 { return binary.LittleEndian.Uint32(p[12:]) }

func (c *catalog) appendHead(p []byte) []byte {
	le := binary.LittleEndian
	p = append(p, make([]byte, headerLen)...)
	p = le.AppendUint32(p, c.gen)
	p = le.AppendUint32(p, uint32(c.epoch))
	p = le.AppendUint32(p, uint32(c.line))
	p = le.AppendUint32(p, c.start.incarnation)
	p = le.AppendUint64(p, uint64(c.start.pos))
	p = le.AppendUint32(p, c.start.chain)
	p = le.AppendUint32(p, 0)
	for _, v := range [...]uint64{
		uint64(c.seq), uint64(c.size), c.slots, c.nextRun, c.mapPages,
		c.blocks.pages, c.refs.pages, c.sums.pages,
	} {
		p = le.AppendUint64(p, v)
	}
	for _, n := range [...]int{
		len(c.blocks.roots), len(c.refs.roots), len(c.sums.roots),
		len(c.points), len(c.branches), len(c.runs), len(c.free),
	} {
		p = le.AppendUint64(p, uint64(n))
	}
	return le.AppendUint64(p, uint64(c.passed))
}

func (q *catalogPoint) append(p []byte) []byte {
	le := binary.LittleEndian
	p = le.AppendUint32(p, uint32(q.id))
	p = le.AppendUint32(p, uint32(q.line))
	p = le.AppendUint64(p, uint64(q.time))
	p = le.AppendUint64(p, uint64(q.size))
	p = le.AppendUint64(p, uint64(q.seq))
	p = le.AppendUint16(p, uint16(q.flags))
	p = le.AppendUint16(p, uint16(len(q.name)))
	p = le.AppendUint32(p, 0)
	p = append(p, q.name...)
	return append(p, zeroes[:roundUp8(len(q.name))-len(q.name)]...)
}

func (r *catalogRun) append(p []byte) []byte {
	le := binary.LittleEndian
	p = le.AppendUint64(p, r.id)
	p = le.AppendUint32(p, uint32(r.owner))
	p = le.AppendUint32(p, uint32(r.flags))
	p = le.AppendUint64(p, r.blocks)
	p = le.AppendUint64(p, 0)
	return appendRef(appendRef(p, r.full), r.head)
}

func appendRef(p []byte, r ref) []byte {
	p = append(p, zeroes[:]...)
	p = append(p, zeroes[:]...)
	putRef(p[len(p)-refLen:], r)
	return p
}

var zeroes [8]byte

// catalogReader takes a catalog's bytes apart from front to back. The first error stays and
// everything read after it is zero, so that callers look once, at the end.
type catalogReader struct {
	p   []byte
	off int
	err error
}

// decodeCatalog decodes and validates the catalog that r names; p holds r.bytes bytes.
func decodeCatalog(p []byte, r catalogRef) (*catalog, error) {
	base := int64(r.page) * pageSize
	if uint64(len(p)) != r.bytes || len(p) < catalogHead || len(p) > maxCatalog {
		return nil, corrupt(mapName, base, "length of the catalog", len(p), r.bytes)
	}
	if err := checkHeader(p, mapName, base, magicCatalog, saltCatalog); err != nil {
		return nil, err
	}
	if found := catalogSum(p); found != r.crc {
		return nil, corruptSum(mapName, base, "the catalog", found, r.crc)
	}
	d := catalogReader{p: p, off: headerLen}
	c := d.catalog()
	if d.err == nil && d.off != len(p) {
		d.fail("length of the catalog", len(p), d.off)
	}
	if d.err == nil {
		c.validate(&d)
	}
	if d.err == nil && c.gen != r.gen {
		d.fail("generation of the catalog", c.gen, r.gen)
	}
	if e, ok := d.err.(*CorruptError); ok {
		e.Offset += base
	}
	return c, d.err
}

func (d *catalogReader) catalog() *catalog {
	c := &catalog{
		gen: d.u32(), epoch: epoch(d.u32()), line: line(d.u32()),
		start: journalStart{incarnation: d.u32(), pos: position(d.u64()), chain: d.u32()},
	}
	d.zero(4)
	c.seq, c.size, c.slots = sequence(d.u64()), int64(d.u64()), d.u64()
	c.nextRun, c.mapPages = d.u64(), d.u64()
	c.blocks.pages, c.refs.pages, c.sums.pages = d.u64(), d.u64(), d.u64()
	c.blocks.roots = make([]ref, d.count("directories of the map", maxRoots, refLen))
	c.refs.roots = make([]ref, d.count("directories of the refs", maxRoots, refLen))
	c.sums.roots = make([]ref, d.count("directories of the sums", maxRoots, refLen))
	c.points = make([]catalogPoint, d.count("points", maxPoints, catalogPointHead))
	c.branches = make([]branch, d.count("lines", maxBranches, catalogBranchLen))
	c.runs = make([]catalogRun, d.count("runs", maxRuns, catalogRunLen))
	c.free = make([]pageExtent, d.count("free extents", maxFree, catalogFreeLen))
	c.passed = intentNumber(d.u64())
	for _, roots := range [...][]ref{c.blocks.roots, c.refs.roots, c.sums.roots} {
		for i := range roots {
			roots[i] = d.ref()
		}
	}
	for i := range c.points {
		c.points[i] = d.point()
	}
	for i := range c.branches {
		c.branches[i] = branch{id: line(d.u32()), from: line(d.u32()), at: d.epoch64()}
	}
	for i := range c.runs {
		c.runs[i] = d.run()
	}
	for i := range c.free {
		c.free[i] = pageExtent{d.u64(), d.u64()}
	}
	return c
}

func (d *catalogReader) point() catalogPoint {
	q := catalogPoint{
		id: epoch(d.u32()), line: line(d.u32()), time: int64(d.u64()),
		size: int64(d.u64()), seq: sequence(d.u64()),
	}
	flags := d.take(4)
	q.flags = pointFlags(binary.LittleEndian.Uint16(flags))
	n := int(binary.LittleEndian.Uint16(flags[2:]))
	d.zero(4)
	if n > maxName {
		d.fail("length of a point's name", n, "at most 255")
		n = 0
	}
	q.name = string(d.take(n))
	d.zero(roundUp8(n) - n)
	return q
}

func (d *catalogReader) run() catalogRun {
	r := catalogRun{id: d.u64(), owner: epoch(d.u32()), flags: runFlags(d.u32()), blocks: d.u64()}
	d.zero(8)
	r.full, r.head = d.ref(), d.ref()
	return r
}

func (d *catalogReader) fail(what string, found, want any) {
	if d.err == nil {
		d.err = corrupt(mapName, int64(d.off), what, found, want)
	}
}

// take returns the next n bytes, or as many zeroes after the end or an error.
func (d *catalogReader) take(n int) []byte {
	if d.err == nil && n > len(d.p)-d.off {
		d.fail("bytes left in the catalog", len(d.p)-d.off, n)
	}
	if d.err != nil {
		return make([]byte, n)
	}
	d.off += n
	return d.p[d.off-n : d.off]
}

func (d *catalogReader) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *catalogReader) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *catalogReader) ref() ref    { return getRef(d.take(refLen)) }

// epoch64 reads an epoch that has a reserved word behind it.
func (d *catalogReader) epoch64() epoch {
	e := epoch(d.u32())
	d.zero(4)
	return e
}

func (d *catalogReader) zero(n int) {
	if i := allZero(d.take(n)); i >= 0 {
		d.off -= n - i
		d.fail("reserved byte of the catalog", d.p[d.off], 0)
	}
}

// count reads the number of a section's elements: below its limit, and no more than the bytes
// that are there can hold, before memory is taken for them.
func (d *catalogReader) count(what string, limit, size uint64) uint64 {
	n := d.u64()
	if room := uint64(len(d.p)) / size; n > limit || n > room {
		d.off -= 8
		d.fail("number of "+what, n, fmt.Sprint("at most ", min(limit, room)))
		return 0
	}
	return n
}
