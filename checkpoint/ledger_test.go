package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/belay-vm/belay/internal/disktest"
)

// tag names what a test once put into a sector. Every write has a tag of its own; 0 is zeroes.
type tag uint64

// baseTag is what the sectors of the base image hold.
const baseTag tag = 1 << 40

// fill makes the content of a sector: the tag, the sector's number, and words that follow from
// both, so that content in a wrong place, or put together of two, is never taken for right.
func (t tag) fill(p []byte, sector int) {
	if t == 0 {
		clear(p)
		return
	}
	for i := 0; i < sectorSize; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], t.word(sector, i))
	}
}

func (t tag) word(sector, i int) uint64 {
	if i == 0 {
		return uint64(t)
	}
	return (uint64(t)<<20+uint64(sector))*0x9e3779b97f4a7c15 + uint64(i)
}

// readTag returns the tag of a sector's content; false if no test ever made it.
func readTag(p []byte, sector int) (tag, bool) {
	t := tag(binary.LittleEndian.Uint64(p))
	for i := 0; i < sectorSize; i += 8 {
		want := uint64(0)
		if t != 0 {
			want = t.word(sector, i)
		}
		if binary.LittleEndian.Uint64(p[i:]) != want {
			return t, false
		}
	}
	return t, true
}

func readTags(p []byte) ([]tag, error) {
	tags := make([]tag, len(p)/sectorSize)
	for i := range tags {
		var ok bool
		if tags[i], ok = readTag(p[i*sectorSize:(i+1)*sectorSize], i); !ok {
			return nil, fmt.Errorf("sector %d holds what was never written: it begins as write %d", i, tags[i])
		}
	}
	return tags, nil
}

// version is one write of a sector: when it was issued and when it was reported.
type version struct {
	tag      tag
	from, to int
	done     bool // reported without an error: it counts against what was there before
}

// never is when a write is reported that is still in flight.
const never = math.MaxInt

// mark is a point as the ledger knows it.
type mark struct {
	id      uint32
	tags    []tag // of every sector, also of those beyond the disk's end then
	size    int64
	line    uint32
	parent  *mark // the point before it on the way to it
	at      int   // when it was there
	keep    bool
	left    bool
	retired bool
	doubt   bool // it may be retired
	gone    int  // when its deletion was asked for; 0: not
	lost    int  // when its deletion was durable; 0: not
}

// turn is a rollback or a load under way.
type turn struct {
	line uint32
	to   *mark
	left *mark // the point that it makes of the state it leaves
	onto *mark // of a load: the base. It makes the point that it goes to
}

// makes returns the point that a turn adds.
func (t *turn) makes() *mark {
	if t.onto != nil {
		return t.to
	}
	return t.left
}

// ledger knows what was asked for and what was acknowledged, and so what a disk may show: it is
// the plain model of a store, with everything that is still open left open. Time counts events.
type ledger struct {
	now     int
	durable int  // what was reported up to then survives a power cut
	cut     bool // there was one, and what is left was not judged yet
	sectors [][]version
	size    int64
	other   int64   // of a resize under way: the disk may have this length too
	marks   []*mark // ascending by id
	head    *mark   // the newest point on the way to the current state
	line    uint32
	turn    *turn
	loads   []loaded // that a power cut may undo
	next    tag
}

// newLedger describes a new disk of size bytes that may grow to so many sectors.
func newLedger(size int64, sectors int, base int64) *ledger {
	l := &ledger{size: size, other: size, line: 1, sectors: make([][]version, sectors)}
	for i := range l.sectors {
		v := version{done: true}
		if int64(i)*sectorSize < base {
			v.tag = baseTag
		}
		l.sectors[i] = []version{v}
	}
	return l
}

func (l *ledger) tick() int { l.now++; return l.now }

// issue notes a write to n sectors.
func (l *ledger) issue(first, n int, t tag) int {
	at := l.tick()
	for i := first; i < min(first+n, len(l.sectors)); i++ {
		l.sectors[i] = append(l.sectors[i], version{tag: t, from: at, to: never})
	}
	return at
}

// report notes that the write issued at a time is complete, or has failed: then it may have
// happened or not.
func (l *ledger) report(first, n, issued int, err error) {
	at := l.tick()
	for i := first; i < min(first+n, len(l.sectors)); i++ {
		for k := range l.sectors[i] {
			if v := &l.sectors[i][k]; v.from == issued {
				v.to, v.done = at, err == nil
			}
		}
	}
}

// allows reports whether a sector may show a tag when everything that was reported up to a time
// counts. A version is ruled out by one that was issued after it had been reported.
func (l *ledger) allows(sector int, t tag, upTo int) bool { return l.allowsOf(sector, t, upTo, never) }

// allowsOf does so when nothing is there that was issued at a time or later.
func (l *ledger) allowsOf(sector int, t tag, upTo, before int) bool {
	newest := 0
	for _, v := range l.sectors[sector] {
		if v.done && v.to <= upTo {
			newest = max(newest, v.from)
		}
	}
	return slices.ContainsFunc(l.sectors[sector], func(v version) bool {
		return v.tag == t && v.to >= newest && v.from < before
	})
}

// settle replaces doubt by what was seen, and forgets versions that no cut can bring back. Nothing
// is in flight.
func (l *ledger) settle(seen []tag) {
	at := l.tick()
	for i, t := range seen {
		newest := 0
		for _, v := range l.sectors[i] {
			if v.done && v.to <= l.durable {
				newest = max(newest, v.from)
			}
		}
		kept := l.sectors[i][:0]
		for _, v := range l.sectors[i] {
			if v.to >= newest {
				kept = append(kept, v)
			}
		}
		if len(kept) > 1 || kept[0].tag != t {
			kept = append(kept, version{tag: t, from: at, to: at, done: true})
		}
		l.sectors[i] = kept
	}
}

// kept returns up to when what was reported must be there after the end of the process, or of the
// machine.
func (l *ledger) kept(kind disktest.Kind) int {
	if kind == disktest.PowerCut || l.cut {
		return l.durable
	}
	return l.now
}

// synced notes that everything reported up to a time is durable.
func (l *ledger) synced(at int) {
	l.durable = max(l.durable, at)
	l.loads = slices.DeleteFunc(l.loads, func(d loaded) bool { return d.at <= l.durable })
}

// current returns the tags that the disk has, where there is no doubt.
func (l *ledger) current() []tag {
	tags := make([]tag, len(l.sectors))
	for i, vs := range l.sectors {
		tags[i] = vs[len(vs)-1].tag
	}
	return tags
}

// become makes the state that of a point.
func (l *ledger) become(tags []tag, from int) {
	at := l.tick()
	for i, t := range tags {
		l.sectors[i] = append(l.sectors[i], version{tag: t, from: from, to: at, done: true})
	}
}

// mark finds a point.
func (l *ledger) mark(id uint32) *mark {
	for _, m := range l.marks {
		if m.id == id {
			return m
		}
	}
	return nil
}

// alive returns the points whose deletion nobody asked for.
func (l *ledger) alive() []*mark {
	var ms []*mark
	for _, m := range l.marks {
		if m.gone == 0 {
			ms = append(ms, m)
		}
	}
	return ms
}

// waiting returns the points on the current line that wait for their retire, oldest first.
func (l *ledger) waiting() []*mark {
	return slices.DeleteFunc(l.alive(), func(m *mark) bool { return m.retired || m.left || m.line != l.line })
}
