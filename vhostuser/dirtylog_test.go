package vhostuser

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// dirtyPages lists the marked pages, and clears them.
func dirtyPages(l *dirtyLog) []uint64 {
	var pages []uint64
	for i, b := range l.bits {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				pages = append(pages, uint64(i*8+bit))
			}
		}
		l.bits[i] = 0
	}
	return pages
}

// TestMarkProperty compares marking with the specification's formula, over bitmaps that start
// and end anywhere.
func TestMarkProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := heapMapping(64)
		start := rapid.IntRange(0, 9).Draw(t, "start")
		l := &dirtyLog{m: m, bits: m.bytes[start:][:rapid.IntRange(0, 20).Draw(t, "bytes")]}
		addr := uint64(rapid.IntRange(0, 200*logPage).Draw(t, "address"))
		n := uint64(rapid.IntRange(0, 60*logPage).Draw(t, "length"))
		l.mark(addr, n)
		var want []uint64
		for page := addr / logPage; n > 0 && page <= (addr+n-1)/logPage; page++ {
			if page < uint64(len(l.bits))*8 {
				want = append(want, page)
			}
		}
		if got := dirtyPages(l); !slices.Equal(got, want) {
			t.Fatalf("marked %d, want %d", got, want)
		}
		if slices.ContainsFunc(m.bytes, func(b byte) bool { return b != 0 }) {
			t.Fatal("marked outside the bitmap")
		}
	})
}

// TestMarkNonsense : ranges that no bitmap holds are ignored.
func TestMarkNonsense(t *testing.T) {
	var none *dirtyLog
	none.mark(0, 1)
	none.close()
	l := heapLog(8)
	l.mark(^uint64(0), 1)
	l.mark(^uint64(0)-10, 100)
	l.mark(1<<63, 1<<62)
	writeLog{log: l, addr: ^uint64(0) - 3}.mark(8, 4)
	if got := dirtyPages(l); len(got) != 1 || got[0] != 0 { // the last one wraps to guest page 0
		t.Errorf("marked %d", got)
	}
}

// TestLogRing checks which pages a request marks, and when: data and used elements before
// the guest sees them, the index with it, nothing for what was only read.
func TestLogRing(t *testing.T) {
	const usedPage, ringPage = (ringsAt + 0x20000) / logPage, ringsAt / logPage
	for _, packed := range []bool{false, true} {
		for _, eventIdx := range []bool{false, true} {
			t.Run(fmt.Sprintf("packed %v, event %v", packed, eventIdx), func(t *testing.T) {
				log := heapLog((guestBase + 2*regionSize) / logPage / 8)
				r := newRig(t, rigOptions{packed: packed, eventIdx: eventIdx, size: 8, log: log})
				data := dataAt / logPage
				r.drv.add(true, seg{dataAt, 9000, false}, seg{dataAt + 5*logPage - 1, 2, true},
					seg{dataAt + 9*logPage, 1, true})
				var c Chain
				r.next(&c)
				wantDirty(t, log)
				r.q.Complete(&c, 3)
				wantDirty(t, log, data+4, data+5, data+9)
				r.publish()
				if packed {
					wantDirty(t, log, ringPage)
				} else {
					wantDirty(t, log, usedPage)
				}
				r.q.Disarm()
				if packed || !eventIdx {
					wantDirty(t, log, usedPage)
				}
				_, err := r.q.Arm()
				must(t, err)
				wantDirty(t, log, usedPage)

				r.q.setLog(log, false, 0) // data only
				r.drv.add(true, seg{dataAt, 1, true})
				r.next(&c)
				r.q.Complete(&c, 1)
				r.publish()
				wantDirty(t, log, data)
				r.q.setLog(nil, false, 0)
				r.drv.add(true, seg{dataAt, 1, true})
				r.next(&c)
				r.q.Complete(&c, 1)
				r.publish()
				wantDirty(t, log)
			})
		}
	}
}

func wantDirty(t *testing.T, l *dirtyLog, want ...uint64) {
	t.Helper()
	if got := dirtyPages(l); !slices.Equal(got, want) {
		t.Errorf("dirty pages %#x, want %#x", got, want)
	}
}

// TestMapDirtyLog maps a bitmap inside a file.
func TestMapDirtyLog(t *testing.T) {
	fd := memfd(t, 8192+100)
	l, err := mapDirtyLog(fd, 100, 8192)
	must(t, err)
	defer l.close()
	l.mark(799*logPage, logPage) // the last bit
	l.mark(800*logPage, logPage) // behind it
	if got := dirtyPages(l); !slices.Equal(got, []uint64{799}) {
		t.Errorf("marked %d", got)
	}
	for _, bad := range []struct {
		size, offset uint64
		want         error
	}{{0, 0, ErrLimit}, {maxLogBytes + 1, 0, ErrLimit}, {101, 8192, ErrFault}, {100, ^uint64(0), ErrLimit}} {
		if _, err := mapDirtyLog(fd, bad.size, bad.offset); !errors.Is(err, bad.want) {
			t.Errorf("%d bytes at %#x: %v", bad.size, bad.offset, err)
		}
	}
}

// TestLogUsedElement : an element on another page of the used ring than its index.
func TestLogUsedElement(t *testing.T) {
	const usedPage = (ringsAt + 0x20000) / logPage
	log := heapLog((guestBase + 2*regionSize) / logPage / 8)
	r := newRig(t, rigOptions{size: 1024, log: log})
	for range 600 {
		passOne(r, seg{dataAt, 1, true})
	}
	dirtyPages(log)
	passOne(r, seg{dataAt, 1, true})
	wantDirty(t, log, usedPage, usedPage+1, dataAt/logPage)
}
