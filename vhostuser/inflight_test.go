package vhostuser

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The deaths of a backend: how far it got with its last batch.
type death int

const (
	diesTaking     death = iota // took the chains, completed none
	diesCompleting              // completed some, published none
	diesPrepared                // noted the batch
	diesFilled                  // wrote the used elements
	diesCommitted               // made them visible
	diesSettling                // cleared the first entry of the batch
	diesCleared                 // cleared all entries, but did not note the index
	diesSettled                 // finished the batch
	deaths
)

// publishUntil publishes as far as the death lets it.
func (q *Queue) publishUntil(d death) {
	done := q.done
	if d >= diesPrepared {
		_ = q.layout.prepare(done)
	}
	if d >= diesFilled {
		q.layout.fill(done)
	}
	if d >= diesCommitted {
		q.layout.commit(done)
	}
	switch {
	case d == diesSettling:
		q.clearEntries(done[:1])
	case d == diesCleared:
		q.clearEntries(done)
	case d == diesSettled:
		q.layout.settle(done)
	}
}

// clearEntries does the first half of settle.
func (q *Queue) clearEntries(done []usedElem) {
	for _, u := range done {
		if q.packed {
			q.fl.piece(0)[packedEntry(u.entry)] = 0
		} else {
			q.fl.piece(0)[splitEntry(int(u.id))] = 0
		}
	}
}

// TestInflightDeath kills a backend at each point, after a history that shuffled the entries,
// and checks that its successor resubmits exactly the chains that were not published, oldest
// first and before the new ones, and that the guest gets each chain exactly once.
func TestInflightDeath(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		for d := range deaths {
			for history := range 12 {
				for _, indirect := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d/%d/%v", d, history, indirect), func(t *testing.T) {
						dieAndRecover(t, packed, d, history, indirect)
					})
				}
			}
		}
	})
}

func dieAndRecover(t *testing.T, packed bool, d death, history int, indirect bool) {
	o := rigOptions{packed: packed, size: 16, fl: heapFlight(1, 20, packed)}
	r := newRig(t, o)
	shuffleHistory(r, history)

	var ids []uint16
	var chains [4]Chain
	for i := range chains {
		ids = append(ids, addNumbered(r, indirect, byte(i)))
		r.next(&chains[i])
	}
	waiting := addNumbered(r, indirect, 4) // available, never taken
	if d > diesTaking {
		r.q.Complete(&chains[2], 1)
		r.q.Complete(&chains[0], 1)
	}
	r.q.publishUntil(d)
	lost := []byte{0, 1, 2, 3, 4}
	if d >= diesCommitted {
		lost = []byte{1, 3, 4}
	}

	// Death: memory and region are all that is left.
	o.fl = o.fl.clone()
	mem := r.mem.clone()
	next := attach(t, mem, r.drv.at(mem), o)
	if d >= diesCommitted {
		next.wantUsed(ids[2], 1)
		next.wantUsed(ids[0], 1)
	}
	finishNumbered(next, lost, append(ids, waiting))
	next.empty()
	next.wantNoUsed()
	addNumbered(next, indirect, 7)
	finishNumbered(next, []byte{7}, nil)
	wantNoneInFlight(t, o.fl)
}

// shuffleHistory passes chains in batches and out of order, so that entries, ids and the
// position in the ring are not the first ones.
func shuffleHistory(r *rig, n int) {
	var chains [3]Chain
	for range n {
		for i := range chains {
			addNumbered(r, false, byte(i))
			r.next(&chains[i])
		}
		for _, i := range []int{1, 2, 0} {
			r.q.Complete(&chains[i], 1)
		}
		r.publish()
		for range chains {
			r.drv.poll()
		}
	}
}

// addNumbered makes a chain available that reads its number and has room for an answer.
func addNumbered(r *rig, indirect bool, number byte) uint16 {
	at := dataAt + 64*uint64(number)
	guestBytes(r.mem, at, 1)[0] = number
	return r.drv.add(indirect, seg{at, 1, false}, seg{at + 1, 1, true})
}

// finishNumbered takes the chains with these numbers in this order, and completes them.
func finishNumbered(r *rig, numbers []byte, ids []uint16) {
	r.Helper()
	chains := make([]Chain, len(numbers))
	var got []byte
	for i := range chains {
		var b [1]byte
		r.next(&chains[i])
		if _, err := chains[i].CopyIn(b[:], 0); err != nil {
			r.Fatal(err)
		}
		got = append(got, b[0])
	}
	if !slices.Equal(got, numbers) {
		r.Fatalf("resubmitted %d, want %d", got, numbers)
	}
	for i := range chains {
		r.q.Complete(&chains[i], 1)
	}
	r.publish()
	for _, n := range numbers {
		id, _, ok := r.drv.poll()
		if !ok || ids != nil && id != ids[n] {
			r.Fatalf("chain %d: used id %d (%v), want %v", n, id, ok, ids)
		}
	}
}

func wantNoneInFlight(t *testing.T, f *inflight) {
	t.Helper()
	for i := range f.queueSize {
		e := splitEntry(i)
		if f.packed {
			e = packedEntry(uint16(i))
		}
		if f.piece(0)[e] != 0 {
			t.Errorf("entry %d is still in flight", i)
		}
	}
}

// TestInflightHalfTaken : a backend that died while it copied a packed chain's descriptors
// has not taken it.
func TestInflightHalfTaken(t *testing.T) {
	o := rigOptions{packed: true, size: 8, fl: heapFlight(1, 8, true)}
	r := newRig(t, o)
	addNumbered(r, false, 3)
	p := r.q.layout.(*packed)
	var c Chain
	if err := p.track.begin(&c); err != nil {
		t.Fatal(err)
	}
	if err := p.track.add(&c, descriptor{addr: dataAt, len: 1, flags: flagNext}, 9, false); err != nil {
		t.Fatal(err)
	}
	mem := r.mem.clone()
	o.fl = o.fl.clone()
	next := attach(t, mem, r.drv.at(mem), o)
	finishNumbered(next, []byte{3}, nil)
	next.empty()
}

// TestInflightDescriptorReused : between taking and completing a chain the guest may put
// others into its places of a packed ring; resubmission uses the copies.
func TestInflightDescriptorReused(t *testing.T) {
	o := rigOptions{packed: true, size: 4, fl: heapFlight(1, 4, true)}
	r := newRig(t, o)
	first := addNumbered(r, false, 1)
	second := addNumbered(r, false, 2)
	var a, b Chain
	r.next(&a)
	r.next(&b)
	r.q.Complete(&b, 1) // its used descriptor goes over the first chain's descriptors
	r.publish()
	r.wantUsed(second, 1)
	third := addNumbered(r, false, 3)
	mem := r.mem.clone()
	o.fl = o.fl.clone()
	next := attach(t, mem, r.drv.at(mem), o)
	finishNumbered(next, []byte{1, 3}, []uint16{0, first, 0, third})
}

// TestInflightDiesTwice : the successor dies as well, before it finished what it resubmitted.
func TestInflightDiesTwice(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		o := rigOptions{packed: packed, size: 8, fl: heapFlight(1, 8, packed)}
		r := newRig(t, o)
		var chains [3]Chain
		for i := range chains {
			addNumbered(r, false, byte(i))
			r.next(&chains[i])
		}
		for range 3 {
			mem := r.mem.clone()
			o.fl = o.fl.clone()
			r = attach(t, mem, r.drv.at(mem), o)
			r.next(&chains[0])
		}
		r.q.Complete(&chains[0], 1)
		r.publish()
		mem := r.mem.clone()
		o.fl = o.fl.clone()
		finishNumbered(attach(t, mem, r.drv.at(mem), o), []byte{1, 2}, nil)
	})
}

// TestInflightElsewhere : on a COLO secondary the region comes back with its own old index
// while the ring is the primary's. Drained, it must not matter.
func TestInflightElsewhere(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		fl := heapFlight(1, 8, packed)
		r := newRig(t, rigOptions{packed: packed, size: 8, fl: fl})
		shuffleHistory(r, 5)
		fl.clear(0)

		primary := newRig(t, rigOptions{packed: packed, size: 8})
		shuffleHistory(primary, 2)
		c := primary.drv.config()
		c.base = primary.q.base()
		q, err := newQueue(c, primary.mem, nil, fl)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.close)
		primary.q = q
		primary.empty()
		shuffleHistory(primary, 9)
	})
}

// TestInflightStaleBase : a front end that hangs up under load takes the used index of that
// moment for its base, while the session that ends still completes what it took. None of that
// is executed again.
func TestInflightStaleBase(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		o := rigOptions{packed: packed, size: 8, fl: heapFlight(1, 8, packed)}
		r := newRig(t, o)
		c := r.drv.config()
		shuffleHistory(r, 2)
		q, err := newQueue(c, r.mem, nil, o.fl)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.close)
		r.q = q
		r.empty()
		shuffleHistory(r, 3)
	})
}

// TestInflightForeign : regions that this device did not leave are refused, and whatever is
// in one crashes nothing.
func TestInflightForeign(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		start := func(size int, spoil func(b []byte)) error {
			fl := heapFlight(1, 8, packed)
			r := newRig(t, rigOptions{packed: packed, size: 8, fl: fl})
			addNumbered(r, false, 1)
			var c Chain
			r.next(&c)
			spoil(fl.piece(0))
			cfg := r.drv.config()
			cfg.size = uint32(size)
			q, err := newQueue(cfg, r.mem, nil, fl)
			if err == nil {
				q.close()
			}
			return err
		}
		if err := start(8, func([]byte) {}); err != nil {
			t.Errorf("an unspoilt region: %v", err)
		}
		if err := start(8, func(b []byte) { put16(b, flightVersionOff, 2) }); !errors.Is(err, ErrInflightVer) {
			t.Errorf("version 2: %v", err)
		}
		if err := start(8, func(b []byte) { put16(b, flightNumOff, 9) }); !errors.Is(err, ErrInflight) {
			t.Errorf("9 entries: %v", err)
		}
		if err := start(16, func([]byte) {}); !errors.Is(err, ErrInflight) {
			t.Errorf("a ring larger than the region: %v", err)
		}
	})
}

// TestInflightMemfd makes a region as for GET_INFLIGHT_FD and maps it again as for
// SET_INFLIGHT_FD.
func TestInflightMemfd(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		f, fd, size, err := newInflight(2, 128, packed)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		defer f.close()
		if want := uint64(2 * 0x840); !packed && size != want { // as libvhost-user lays it out
			t.Errorf("size %#x, want %#x", size, want)
		}
		f.piece(1)[3] = 7
		again, err := mapInflight(fd, size, 0, 2, 128, packed)
		if err != nil {
			t.Fatal(err)
		}
		defer again.close()
		if again.piece(1)[3] != 7 {
			t.Error("the second mapping shows another file")
		}
		again.clear(1)
		again.clear(2) // no such queue: nothing
		if f.piece(1)[3] != 0 {
			t.Error("clear left the piece as it was")
		}
		for _, bad := range []func() error{
			func() error { _, err := mapInflight(fd, size-1, 0, 2, 128, packed); return err },
			func() error { _, err := mapInflight(fd, size, 4096, 2, 128, packed); return err },
			func() error { _, err := mapInflight(fd, size, 0, 0, 128, packed); return err },
			func() error { _, err := mapInflight(fd, size, 0, 2, 40000, packed); return err },
		} {
			if bad() == nil {
				t.Error("a region that does not fit was accepted")
			}
		}
	})
}

// TestInflightGarbage : whatever a region holds, before the start or while the ring runs, it
// gives an error or chains inside guest memory.
func TestInflightGarbage(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		rapid.Check(t, func(rt *rapid.T) {
			fl := heapFlight(1, 8, packed)
			r := newRig(t, rigOptions{packed: packed, size: 8, fl: fl})
			for i := range 5 {
				addNumbered(r, i%2 == 0, byte(i))
				r.next(new(Chain))
			}
			spoil(rt, fl.piece(0))
			serveAll(t, r.q)
			put16(fl.piece(0), flightVersionOff, inflightVersion)
			put16(fl.piece(0), flightNumOff, 8)
			spoil(rt, fl.piece(0)[packedFreeOff:])
			q, err := newQueue(r.drv.config(), r.mem, nil, fl)
			if err != nil {
				return
			}
			serveAll(t, q)
			q.close()
		})
	})
}

// spoil writes small numbers, which pass for indices and lengths, all over a piece.
func spoil(t *rapid.T, b []byte) {
	for range rapid.IntRange(0, 12).Draw(t, "words") {
		at := rapid.IntRange(0, len(b)/2-1).Draw(t, "word") * 2
		put16(b, at, uint16(rapid.IntRange(0, 17).Draw(t, "value")))
	}
}

// recorder notes the steps of publishing.
type recorder struct {
	layout
	steps []string
}

func (l *recorder) note(step string) { l.steps = append(l.steps, step) }

func (l *recorder) prepare(done []usedElem) error { l.note("prepare"); return l.layout.prepare(done) }
func (l *recorder) fill(done []usedElem)          { l.note("fill"); l.layout.fill(done) }
func (l *recorder) commit(done []usedElem)        { l.note("commit"); l.layout.commit(done) }
func (l *recorder) settle(done []usedElem)        { l.note("settle"); l.layout.settle(done) }
func (l *recorder) wantsCall(done []usedElem) bool {
	l.note("wantsCall")
	return l.layout.wantsCall(done)
}

// TestPublishOrder : each step once per batch, in the order that TestInflightDeath proves
// recoverable.
func TestPublishOrder(t *testing.T) {
	r := newRig(t, rigOptions{size: 8})
	l := &recorder{layout: r.q.layout}
	r.q.layout = l
	var chains [3]Chain
	for i := range chains {
		r.drv.add(false, seg{dataAt, 1, true})
		r.next(&chains[i])
		r.q.Complete(&chains[i], 1)
	}
	r.publish()
	if want := []string{"prepare", "fill", "commit", "settle", "wantsCall"}; !slices.Equal(l.steps, want) {
		t.Errorf("steps %q, want %q", l.steps, want)
	}
}

// TestInflightWholeLap : a batch that fills a packed ring ends where it began, one lap on.
// Arm does not let the successor sleep over what is to be resubmitted.
func TestInflightWholeLap(t *testing.T) {
	for d := diesTaking; d < deaths; d++ {
		o := rigOptions{packed: true, size: 4, fl: heapFlight(1, 4, true)}
		r := newRig(t, o)
		var chains [2]Chain
		for i := range chains {
			addNumbered(r, false, byte(i))
			r.next(&chains[i])
		}
		r.q.Complete(&chains[0], 1)
		r.q.Complete(&chains[1], 1)
		r.q.publishUntil(d)
		mem := r.mem.clone()
		o.fl = o.fl.clone()
		next := attach(t, mem, r.drv.at(mem), o)
		wantArm(next, d < diesCommitted)
		if d < diesCommitted {
			finishNumbered(next, []byte{0, 1}, nil)
		}
		next.empty()
		wantNoneInFlight(t, o.fl)
	}
}

// TestInflightFarIndex : a used index further on than any batch is another ring's; the list
// of the last batch says nothing about what is in flight.
func TestInflightFarIndex(t *testing.T) {
	fl := heapFlight(1, 8, false)
	r := newRig(t, rigOptions{size: 8, fl: fl})
	shuffleHistory(r, 3)
	addNumbered(r, false, 1)
	var c Chain
	r.next(&c)
	track := newSplitTrack(fl.piece(0), 8)
	again, _, err := track.recover(r.q.layout.(*split).usedIdx+100, 8)
	if err != nil || len(again) != 1 || again[0].id != c.Head {
		t.Errorf("in flight: %v, %v; want chain %d", again, err, c.Head)
	}
}
