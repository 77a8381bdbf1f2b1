package checkpoint

import (
	"testing"

	"pgregory.net/rapid"
)

// slotModel says of each slot what the slots type must know.
type slotModel struct {
	total uint64
	count map[slot]int
	busy  map[slot]bool
	cold  map[slot]bool
}

func (m *slotModel) free(at slot) bool { return m.count[at] == 0 && !m.busy[at] }

func (m *slotModel) check(t must, s *slots) {
	t.Helper()
	var want slotUsage
	for at := range slot(m.total) {
		want.total++
		switch {
		case m.count[at] > 0:
			want.referenced++
		case m.busy[at]:
			want.busy++
		default:
			want.free++
			if m.cold[at] {
				want.cold++
			}
		}
	}
	if got := s.usage(); got != want {
		t.Fatalf("usage %+v, want %+v", got, want)
	}
}

// taken notes slots that reserve or takeWarm returned.
func (m *slotModel) taken(t must, x extent) {
	t.Helper()
	for i := range x.n {
		at := x.first + slot(i)
		if uint64(at) >= m.total || !m.free(at) {
			t.Fatalf("slot %d of %d handed out, counts %d, busy %v", at, m.total, m.count[at], m.busy[at])
		}
		m.busy[at] = true
		delete(m.cold, at)
	}
}

// TestSlotsModel uses slots at random: none is handed out that is busy or referenced, none is
// lost, and the books agree.
func TestSlotsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &ramFile{}
		total := rapid.Uint64Range(1, 3*groupSlots).Draw(t, "total")
		w := openWorld(t, f, image{slots: total, pages: 1, want: newContent()})
		defer func() { w.close() }()
		m := &slotModel{w.slots.usage().total, map[slot]int{}, map[slot]bool{}, map[slot]bool{}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			stepSlots(t, &w, m)
			m.check(t, w.slots)
		}
		// Whatever is free can be had, to the last slot.
		free := w.slots.usage().free
		got, err := w.slots.reserve(free+1, nil)
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		for _, x := range got {
			m.taken(t, x)
			n += x.n
		}
		if n != free {
			t.Fatalf("%d of %d free slots reserved", n, free)
		}
		m.check(t, w.slots)
	})
}

func stepSlots(t *rapid.T, w **world, m *slotModel) {
	s := (*w).slots
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1, 2:
		n := rapid.SampledFrom([]uint64{1, 5, 64, 256, 700, groupSlots}).Draw(t, "n")
		own := []extent{{7, 0}}
		got, err := s.reserve(n, own)
		if err != nil {
			t.Fatal(err)
		}
		var sum uint64
		for _, x := range got[1:] {
			m.taken(t, x)
			sum += x.n
		}
		if sum > n || sum < n && s.usage().free > 0 {
			t.Fatalf("%d slots reserved of %d, %d free", sum, n, s.usage().free)
		}
	case 3, 4: // retain what is busy, or anything, as replay does
		x := someSlots(t, m)
		if err := s.ensure(x.first, x.n); err != nil {
			t.Fatal(err)
		}
		s.retain(x)
		for i := range x.n {
			m.count[x.first+slot(i)]++
			delete(m.cold, x.first+slot(i))
		}
	case 5, 6:
		dropSome(t, s, m)
	case 7:
		x := someSlots(t, m)
		cold := rapid.Bool().Draw(t, "cold")
		if err := s.ensure(x.first, x.n); err != nil {
			t.Fatal(err)
		}
		if cold {
			s.releaseCold(x)
		} else {
			s.release(x)
		}
		for i := range x.n {
			at := x.first + slot(i)
			if m.busy[at] && m.count[at] == 0 && cold {
				m.cold[at] = true
			}
			delete(m.busy, at)
		}
	case 8:
		most := rapid.SampledFrom([]uint64{1, 100, 256, 1000}).Draw(t, "max")
		x := s.takeWarm(most)
		if warm := s.usage().free - s.usage().cold; x.n > most || x.n == 0 && warm > 0 {
			t.Fatalf("%d slots taken of at most %d, %d warm", x.n, most, warm)
		}
		for i := range x.n {
			if m.cold[x.first+slot(i)] {
				t.Fatalf("slot %d taken is cold", x.first+slot(i))
			}
		}
		m.taken(t, x)
	case 9:
		if rapid.Bool().Draw(t, "grow") {
			m.total += rapid.Uint64Range(0, groupSlots).Draw(t, "by")
			s.grow(m.total)
			(*w).sums.grow(m.total)
			return
		}
		reopenSlots(t, w, m)
	}
}

// someSlots draws an extent inside the data area.
func someSlots(t *rapid.T, m *slotModel) extent {
	first := rapid.Uint64Range(0, m.total-1).Draw(t, "first")
	n := rapid.SampledFrom([]uint64{1, 1, 40, 300, groupSlots}).Draw(t, "n")
	return extent{slot(first), min(n, m.total-first)}
}

func dropSome(t *rapid.T, s *slots, m *slotModel) {
	x := someSlots(t, m)
	if err := s.ensure(x.first, x.n); err != nil {
		t.Fatal(err)
	}
	hold := rapid.Bool().Draw(t, "hold")
	next := x.first
	s.drop(x, func(d extent) {
		if d.first < next || d.n == 0 {
			t.Fatalf("dead %v after %d", d, next)
		}
		next = d.first + slot(d.n)
		for i := range d.n {
			if m.count[d.first+slot(i)] != 1 {
				t.Fatalf("slot %d is dead with a count of %d", d.first+slot(i), m.count[d.first+slot(i)])
			}
		}
		if hold {
			s.hold(d)
		}
	})
	for i := range x.n {
		at := x.first + slot(i)
		if m.count[at] == 1 && hold {
			m.busy[at] = true
		}
		m.count[at] = max(m.count[at]-1, 0)
	}
}

// reopenSlots writes a snapshot and starts anew from it: nothing is busy or cold then.
func reopenSlots(t *rapid.T, w **world, m *slotModel) {
	old := *w
	if err := old.snapshot(nil); err != nil {
		t.Fatal(err)
	}
	old.last.slots = m.total
	*w = openWorld(t, &ramFile{p: old.file.p}, old.last)
	old.close()
	clear(m.busy)
	clear(m.cold)
}

func TestSlotsCountLimit(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	x := extent{10, 5}
	if err := w.slots.ensure(x.first, x.n); err != nil {
		t.Fatal(err)
	}
	for range maxCount {
		if !w.slots.retainable(x) {
			t.Fatal("a count below its maximum is not retainable")
		}
		w.slots.retain(x)
	}
	if w.slots.retainable(extent{14, 1}) || !w.slots.retainable(extent{15, 3}) {
		t.Fatal("retainable does not see the counts at their maximum")
	}
	w.slots.retain(x) // a damaged store gets here: the count must not start anew
	if c, _ := w.slots.count(12); c != maxCount || w.slots.faults != 5 {
		t.Fatalf("count %d, %d faults", c, w.slots.faults)
	}
	w.slots.drop(extent{20, 1}, func(extent) { t.Fatal("a slot died that nothing named") })
	if w.slots.faults != 6 {
		t.Fatalf("%d faults", w.slots.faults)
	}
}

func TestSlotsRange(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	outside := []extent{{testSlots, 1}, {testSlots - 1, 2}, {0, testSlots + 1}, {1, 1<<64 - 1}, {maxSlots, 5}}
	for _, x := range outside {
		if err := w.slots.ensure(x.first, x.n); err == nil {
			t.Errorf("slots %v of %d accepted", x, testSlots)
		}
	}
	if err := w.slots.ensure(testSlots-1, 1); err != nil {
		t.Error(err)
	}
	if err := w.blocks.ensure(testBlocks+leafBlocks, 1); err == nil {
		t.Error("blocks behind the end accepted")
	}
}

// TestReserveSequential makes sure that an empty data area is handed out from front to back, in
// one extent a call, and that wholly free segments go before holes.
func TestReserveSequential(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	next := slot(0)
	for range 40 {
		got, err := w.slots.reserve(300, nil)
		if err != nil || len(got) != 1 || got[0] != (extent{next, 300}) {
			t.Fatalf("reserved %v, %v; want 300 from %d", got, err, next)
		}
		w.slots.retain(got[0])
		w.slots.release(got[0])
		next += 300
	}
	for i := range slot(1000) { // holes in used segments
		w.slots.drop(extent{i * 10, 1}, func(extent) {})
	}
	if got, _ := w.slots.reserve(300, nil); got[0].first != next {
		t.Fatalf("reserved %v, want slots from %d", got, next)
	}
}

// TestReserveOrder makes sure of what comes first when no segment is wholly free: segments with
// many warm slots, then punched ones, then what is left.
func TestReserveOrder(t *testing.T) {
	w := openWorld(t, &ramFile{}, image{slots: 4 * segmentSlots, pages: 1, want: newContent()})
	defer w.close()
	all, _ := w.slots.reserve(4*segmentSlots, nil)
	w.slots.retain(all[0])
	w.slots.release(all[0])
	dead := func(d extent) { w.slots.hold(d) }
	w.slots.drop(extent{segmentSlots, 10}, dead)
	w.slots.release(extent{segmentSlots, 10}) // few
	w.slots.drop(extent{2 * segmentSlots, 200}, dead)
	w.slots.releaseCold(extent{2 * segmentSlots, 200}) // punched
	w.slots.drop(extent{3 * segmentSlots, 100}, dead)
	w.slots.release(extent{3 * segmentSlots, 100}) // many
	got, err := w.slots.reserve(1000, nil)
	if err != nil || len(got) != 3 || got[0] != (extent{3 * segmentSlots, 100}) ||
		got[1] != (extent{2 * segmentSlots, 200}) || got[2] != (extent{segmentSlots, 10}) {
		t.Fatalf("reserved %v, %v", got, err)
	}
}

func TestZeroBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 1, 0x7f, 0x80, 0xff}), 64, 64).Draw(t, "bytes")
		mask := rapid.Uint64Min(1).Draw(t, "mask")
		var want uint64
		for i, b := range p {
			if b == 0 {
				want |= 1 << i
			}
		}
		if got := zeroBytes(p, mask); got != want&mask {
			t.Fatalf("%#x, want %#x", got, want&mask)
		}
	})
}
