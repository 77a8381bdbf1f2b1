package checkpoint

import (
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// ramFile is a File of which the map needs four methods. during, if set, is called in the middle
// of every write, when whoever writes holds no lock.
type ramFile struct {
	File
	p      []byte
	during func() error
}

func (f *ramFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.p)) {
		return 0, io.EOF
	}
	n := copy(p, f.p[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *ramFile) WriteAt(p []byte, off int64) (int, error) {
	if f.during != nil {
		if err := f.during(); err != nil {
			return 0, err
		}
	}
	if need := off + int64(len(p)); need > int64(len(f.p)) {
		f.p = append(f.p, make([]byte, need-int64(len(f.p)))...)
	}
	return copy(f.p[off:], p), nil
}

func (f *ramFile) Size() (int64, error) { return int64(len(f.p)), nil }

var errInjected = errors.New("injected")

// hookLock is a store's mutex that lets others in before it is taken.
type hookLock struct{ before func() }

func (l *hookLock) Lock() {
	if l.before != nil {
		l.before()
	}
}
func (*hookLock) Unlock() {}

// Sizes of the maps under test: a few leaves of two directories each.
const (
	testBlocks = leafBlocks * (fanout + 4)
	testSlots  = groupSlots*(fanout+2) + 300
)

// image is what a durable snapshot consists of, and what it must contain.
type image struct {
	gen                uint32
	blocks, refs, sums catalogArray
	pages              uint64
	free               []pageExtent
	slots              uint64
	want               content
}

// content is the plain model of the three arrays.
type content struct {
	entries map[block]entry
	counts  map[slot]uint8
	sums    map[slot]uint32
}

func newContent() content {
	return content{map[block]entry{}, map[slot]uint8{}, map[slot]uint32{}}
}

func (c content) clone() content {
	return content{maps.Clone(c.entries), maps.Clone(c.counts), maps.Clone(c.sums)}
}

// world is a map file, the arrays in it and the model of what they hold.
type world struct {
	file   *ramFile
	pages  *pageFile
	mem    *arena
	blocks *blockMap
	slots  *slots
	sums   *sums
	now    content
	last   image // newest durable snapshot
}

// must fails the test, or the property, that runs.
type must interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t must) *world {
	t.Helper()
	return openWorld(t, &ramFile{}, image{slots: testSlots, pages: 1, want: newContent()})
}

// openWorld loads an image, as a restart does.
func openWorld(t must, f *ramFile, i image) *world {
	t.Helper()
	w, err := tryOpen(f, i)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func tryOpen(f *ramFile, i image) (*world, error) {
	w := &world{file: f, mem: newArena(), last: i, now: i.want.clone()}
	var err error
	if w.pages, err = openPageFile(f, i.pages, i.free); err != nil {
		return nil, err
	}
	if w.blocks, err = newBlockMap(w.pages, w.mem, i.blocks, testBlocks, i.slots); err != nil {
		return nil, err
	}
	if w.slots, err = newSlots(w.pages, w.mem, i.refs, i.slots); err != nil {
		return nil, err
	}
	w.sums, err = newSums(w.pages, w.mem, i.sums, i.slots)
	return w, err
}

func (w *world) close() {
	if w.blocks != nil {
		w.blocks.close()
	}
	if w.slots != nil {
		w.slots.close()
	}
	if w.sums != nil {
		w.sums.close()
	}
	w.mem.close()
}

// arrays are the three arrays without what is special about them.
func (w *world) arrays() [3]*array {
	return [3]*array{&w.blocks.array, &w.slots.array, &w.sums.array}
}

// snapshot takes one. during runs whenever another thread could.
func (w *world) snapshot(during func() error) error {
	next := image{gen: w.last.gen + 1, slots: w.slots.usage().total, want: w.now.clone()}
	for _, a := range w.arrays() {
		a.freeze()
	}
	w.pages.freeze()
	lock := &hookLock{}
	if during != nil {
		lock.before = func() { _ = during() }
		w.file.during = during
	}
	var roots [3][]ref
	var err error
	for i, a := range w.arrays() {
		if roots[i], err = a.write(next.gen, lock); err != nil {
			break
		}
	}
	w.file.during = nil
	if err != nil {
		for _, a := range w.arrays() {
			a.abort()
		}
		w.pages.abort()
		return err
	}
	next.pages, next.free = w.pages.length(), w.pages.freeList()
	next.blocks = catalogArray{w.blocks.pages(), roots[0]}
	next.refs = catalogArray{w.slots.pages(), roots[1]}
	next.sums = catalogArray{w.sums.pages(), roots[2]}
	for _, a := range w.arrays() {
		a.commit()
	}
	w.pages.commit()
	w.last = next
	return nil
}

// write maps n blocks to slots and models it.
func (w *world) write(t must, b block, n uint64, e entry) {
	t.Helper()
	if err := w.blocks.ensure(b, n); err != nil {
		t.Fatal(err)
	}
	next := b
	w.blocks.replace(b, n, e, func(at block, k uint64, old entry) {
		if at != next || k == 0 {
			t.Fatalf("replace reports %d blocks from %d, want from %d", k, at, next)
		}
		next += block(k)
		for i := range k {
			if was := w.now.entries[at+block(i)]; was != old.at(i) {
				t.Fatalf("block %d held %v, reported %v", at+block(i), was, old.at(i))
			}
		}
	})
	if next != b+block(n) {
		t.Fatalf("replace of %d blocks from %d reports up to %d", n, b, next)
	}
	for i := range n {
		if v := e.at(i); v != 0 {
			w.now.entries[b+block(i)] = v
		} else {
			delete(w.now.entries, b+block(i))
		}
	}
}

// retain, drop and sum do the same for the other arrays.
func (w *world) retain(t must, x extent) {
	t.Helper()
	if err := w.slots.ensure(x.first, x.n); err != nil {
		t.Fatal(err)
	}
	if !w.slots.retainable(x) {
		return
	}
	w.slots.retain(x)
	for i := range x.n {
		w.now.counts[x.first+slot(i)]++
	}
}

func (w *world) drop(t must, x extent) {
	t.Helper()
	if err := w.slots.ensure(x.first, x.n); err != nil {
		t.Fatal(err)
	}
	var died []slot
	w.slots.drop(x, func(d extent) {
		for i := range d.n {
			died = append(died, d.first+slot(i))
		}
	})
	var want []slot
	for i := range x.n {
		at := x.first + slot(i)
		switch w.now.counts[at] {
		case 0:
		case 1:
			delete(w.now.counts, at)
			want = append(want, at)
		default:
			w.now.counts[at]--
		}
	}
	if !slices.Equal(died, want) {
		t.Fatalf("drop of %v reports %v, want %v", x, died, want)
	}
}

func (w *world) sum(t must, first slot, v []uint32) {
	t.Helper()
	if err := w.sums.ensure(first, uint64(len(v))); err != nil {
		t.Fatal(err)
	}
	w.sums.set(first, v)
	for i, c := range v {
		w.now.sums[first+slot(i)] = c
	}
}

// check compares everything with the model.
func (w *world) check(t must) {
	t.Helper()
	if err := w.compare(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) compare() error {
	for _, f := range []func() error{w.compareMap, w.compareCounts, w.compareSums} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// checkDurable opens the newest snapshot beside the running arrays, as a restart after a power
// cut would, and compares it with what was frozen.
func (w *world) checkDurable(t must) {
	t.Helper()
	r := openWorld(t, &ramFile{p: slices.Clone(w.file.p)}, w.last)
	defer r.close()
	r.check(t)
	if r.slots.faults != 0 {
		t.Fatal("counts left their range")
	}
	if got := r.slots.usage().referenced; got != uint64(len(w.last.want.counts)) {
		t.Fatalf("%d slots referenced, want %d", got, len(w.last.want.counts))
	}
	r.checkPages(t)
}

// checkPages makes sure that every page of the file is in use once, or free.
func (w *world) checkPages(t must) {
	t.Helper()
	owner := map[uint64]bool{0: true}
	leaves := [3]uint64{}
	for i, a := range w.arrays() {
		err := a.eachPage(func(k pageKind, at ref) error {
			if owner[at.page] {
				t.Fatalf("page %d is used twice", at.page)
			}
			owner[at.page] = true
			if k == a.leafKind {
				leaves[i]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if leaves[i] != a.pages() {
			t.Fatalf("array %d has %d leaves in pages, says %d", i, leaves[i], a.pages())
		}
	}
	for _, x := range w.last.free {
		for p := x.page; p < x.page+x.n; p++ {
			if owner[p] {
				t.Fatalf("page %d is used and free", p)
			}
			owner[p] = true
		}
	}
	for p := range w.last.pages {
		if !owner[p] {
			t.Fatalf("page %d is neither used nor free", p)
		}
	}
}

var errDiffers = errors.New("differs from the model")

var _ must = (*rapid.T)(nil)
var _ must = (*testing.T)(nil)
