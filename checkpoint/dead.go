package checkpoint

import "slices"

// A run is a set of death records. Each point owns the runs of the records that came to lie
// behind it: those that died while it was the newest point. When a run has runLimit blocks the
// next record of the journal begins another; so a run is a unit of work for a sweep, small
// enough to be judged under the store's mutex.
//
// A run is a set, not a list: replay may cut the same deaths into other records than the first
// execution did, but each run covers the same blocks in the end.
//
// The newest records are in memory (tail). A snapshot writes them to pages of the map file, each
// naming the one before it, so that the head's checksum vouches for the whole chain. Records in
// a page that is not full stay in the tail and are written again with those that follow.
//
// The store's mutex guards every field.
type run struct {
	id     uint64
	sweep  bool // the point it lay behind was deleted: its records must be judged again
	blocks uint64

	full    ref // newest full page; zero: none
	head    ref // what the catalog names: a partly filled page on top of full, or full itself
	tail    []death
	changed bool // tail differs from what head holds

	frozen int // records of the tail that belong to the snapshot being written
	next   writtenRun
}

// runLimit is the number of blocks after which a run is closed: a sweep holds writers up for as long
// as it takes to judge so many, a quarter of a millisecond.
const runLimit = 2048

// writtenRun is what a snapshot made of a run's tail.
type writtenRun struct {
	full, head ref
	records    int // records of the frozen tail that now lie in full pages
	replaced   ref // the partly filled page that is superfluous once the snapshot is durable
}

// push adds a record, merged with the last one where it continues it.
func (r *run) push(d death) {
	r.blocks += uint64(d.n)
	r.changed = true
	if k := len(r.tail); k > r.frozen && continues(r.tail[k-1], d) {
		r.tail[k-1].n += d.n
		return
	}
	if len(r.tail) == cap(r.tail) {
		r.tail = slices.Grow(r.tail, max(64, 3*len(r.tail))) // append alone adds a quarter at a time
	}
	r.tail = append(r.tail, d)
}

// continues reports whether b describes the blocks right behind a, with the same lifetime.
func continues(a, b death) bool {
	n := uint64(a.n)
	return a.block+block(n) == b.block && a.birth == b.birth && a.death == b.death && a.line == b.line &&
		n+uint64(b.n) <= 1<<31 &&
		(a.slot+slot(n) == b.slot && b.slot < slotNone || a.slot == b.slot && a.slot >= slotNone)
}

// stored is what a run held at one moment, to be read without the store's mutex.
type stored struct {
	tail       []death // shared with the run, which leaves them alone
	last       []death // the newest one: a copy, because a push may still extend the run's
	full, head ref
}

// stored returns what the run holds now.
func (r *run) stored() stored {
	st := stored{full: r.full, head: r.head}
	if k := len(r.tail) - 1; k >= 0 {
		st.tail, st.last = r.tail[:k:k], []death{r.tail[k]}
	}
	return st
}

// read calls fn for every record and page for every page that the run's durable form takes.
// Either may be nil.
func (s stored) read(f *pageFile, fn func(death), page func(ref)) error {
	for _, part := range [][]death{s.tail, s.last} {
		for _, d := range part {
			if fn != nil {
				fn(d)
			}
		}
	}
	if s.head != s.full && page != nil {
		page(s.head)
	}
	for at := s.full; at != (ref{}); {
		prev, records, err := readDeadPage(f, at)
		if err != nil {
			return err
		}
		if page != nil {
			page(at)
		}
		for _, d := range records {
			if fn != nil {
				fn(d)
			}
		}
		at = prev
	}
	return nil
}

// freeze marks the tail as belonging to the snapshot that is about to be written. Nothing is
// copied: later pushes leave these records alone.
func (r *run) freeze() []death {
	r.frozen = len(r.tail)
	r.changed = false
	return r.tail[:r.frozen:r.frozen]
}

// writeRun puts a frozen tail into pages. It does not touch the run: others may push meanwhile.
func writeRun(f *pageFile, gen uint32, full, head ref, tail []death) (writtenRun, error) {
	w := writtenRun{full: full, head: full}
	if head != full {
		w.replaced = head
	}
	for len(tail) > 0 {
		n := min(len(tail), deadPerPage)
		at, err := writeDeadPage(f, gen, w.full, tail[:n])
		if err != nil {
			return w, err
		}
		w.head = at
		if n == deadPerPage {
			w.full = at
			w.records += n
		}
		tail = tail[n:]
	}
	return w, nil
}

// commit makes the written form the run's own, once the snapshot is durable.
func (r *run) commit() {
	r.full, r.head = r.next.full, r.next.head
	r.tail = append([]death(nil), r.tail[r.next.records:]...)
	r.frozen, r.next = 0, writtenRun{}
}

// abort forgets a snapshot that was not finished.
func (r *run) abort() {
	r.frozen, r.next = 0, writtenRun{}
	r.changed = true
}
