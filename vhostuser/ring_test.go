package vhostuser

import (
	"fmt"
	"math/rand"
	"testing"
)

// wrapRequests wraps every 16-bit index three times over.
const wrapRequests = 3*65536 + 77

// TestRingWraps drives rings past the end of every index and wrap counter, with chains of
// different lengths in batches of different sizes, completed in any order.
func TestRingWraps(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		sizes := []int{1, 2, 64, 256}
		if packed {
			sizes = append(sizes, 7, 100)
		}
		for _, size := range sizes {
			for _, eventIdx := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/%v", size, eventIdx), func(t *testing.T) {
					r := newRig(t, rigOptions{packed: packed, eventIdx: eventIdx, size: size})
					driveRandom(r, wrapRequests, rand.New(rand.NewSource(int64(size))))
				})
			}
		}
	})
}

// driveRandom sends n chains through the ring. Each reads a number and writes it back.
func driveRandom(r *rig, n int, rnd *rand.Rand) {
	r.Helper()
	chains := make([]Chain, r.q.Size())
	var spare, taken []*Chain
	for i := range chains {
		spare = append(spare, &chains[i])
	}
	added, finished := 0, 0
	bytes := map[uint16]uint32{} // expected used length of the chains in flight
	for finished < n {
		for added < n && r.drv.room() > 0 && rnd.Intn(4) > 0 {
			id, want := addRandom(r, rnd)
			if _, twice := bytes[id]; twice {
				r.Fatalf("the driver reuses id %d", id)
			}
			bytes[id] = want
			added++
		}
		for rnd.Intn(8) > 0 && len(spare) > 0 {
			c := spare[len(spare)-1]
			ok, err := r.q.Next(c)
			if err != nil {
				r.Fatal(err)
			}
			if !ok {
				break
			}
			spare, taken = spare[:len(spare)-1], append(taken, c)
		}
		rnd.Shuffle(len(taken), func(i, k int) { taken[i], taken[k] = taken[k], taken[i] })
		for len(taken) > 0 && rnd.Intn(6) > 0 {
			c := taken[len(taken)-1]
			spare, taken = append(spare, c), taken[:len(taken)-1]
			r.q.Complete(c, uint32(c.WriteLen))
		}
		if rnd.Intn(3) == 0 || added == n {
			r.publish()
		}
		for {
			id, got, ok := r.drv.poll()
			if !ok {
				break
			}
			if want, ok := bytes[id]; !ok || want != got {
				r.Fatalf("chain %d used with %d bytes, want %d (%v)", id, got, want, ok)
			}
			delete(bytes, id)
			finished++
		}
	}
}

// addRandom makes one chain of one to four pieces available.
func addRandom(r *rig, rnd *rand.Rand) (id uint16, writable uint32) {
	n := 1 + rnd.Intn(4)
	indirect := rnd.Intn(2) == 0
	if !indirect {
		n = min(n, r.drv.room())
	}
	reads := rnd.Intn(n + 1)
	segs := make([]seg, n)
	for i := range segs {
		segs[i] = seg{addr: dataAt + uint64(rnd.Intn(1<<16)), len: uint32(rnd.Intn(5000)), write: i >= reads}
		if segs[i].write {
			writable += segs[i].len
		}
	}
	return r.drv.add(indirect, segs...), writable
}

// TestRingData : what the guest wrote arrives, and what the device wrote comes back, over
// pieces of odd lengths and over the border of two regions.
func TestRingData(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 8})
		border := guestBase + regionSize
		copy(guestBytes(r.mem, dataAt, 3), "abc")
		copy(guestBytes(r.mem, border-2, 2), "de")
		copy(guestBytes(r.mem, border, 5), "fghij")
		id := r.drv.add(true, seg{dataAt, 3, false}, seg{addr: 1, len: 0}, seg{border - 2, 7, false},
			seg{dataAt + 101, 1, true}, seg{border - 1, 3, true})

		var c Chain
		r.next(&c)
		got := make([]byte, 10)
		if n, err := c.CopyIn(got, 0); n != 10 || err != nil || string(got) != "abcdefghij" {
			t.Fatalf("CopyIn: %q, %d, %v", got[:n], n, err)
		}
		if n, err := c.CopyIn(got[:4], 2); n != 4 || err != nil || string(got[:4]) != "cdef" {
			t.Fatalf("CopyIn at 2: %q, %d, %v", got[:n], n, err)
		}
		if n, err := c.CopyOut([]byte("wxyz"), 0); n != 4 || err != nil {
			t.Fatalf("CopyOut: %d, %v", n, err)
		}
		r.q.Complete(&c, 4)
		r.publish()
		r.wantUsed(id, 4)
		back := string(guestBytes(r.mem, dataAt+101, 1)) + string(guestBytes(r.mem, border-1, 1)) +
			string(guestBytes(r.mem, border, 2))
		if back != "wxyz" {
			t.Errorf("the guest sees %q", back)
		}
	})
}

// TestRingPosition checks what GET_VRING_BASE answers.
func TestRingPosition(t *testing.T) {
	one := seg{dataAt, 1, true}
	t.Run("split", func(t *testing.T) {
		r := newRig(t, rigOptions{size: 4})
		wantBase(t, r.q, 0)
		for i := range 70000 {
			passOne(r, one)
			wantBase(t, r.q, uint32(uint16(i+1)))
		}
	})
	t.Run("packed", func(t *testing.T) {
		r := newRig(t, rigOptions{packed: true, size: 4})
		for _, want := range []uint32{0x80028002, 0x00000000, 0x00020002, 0x80008000} {
			passOne(r, one, one)
			wantBase(t, r.q, want)
		}
	})
	t.Run("packed in flight", func(t *testing.T) {
		r := newRig(t, rigOptions{packed: true, size: 4})
		wantBase(t, r.q, 0x80008000)
		r.drv.add(false, one, one, one)
		var c Chain
		r.next(&c)
		wantBase(t, r.q, 0x80008003)
	})
}

func wantBase(t *testing.T, q *Queue, want uint32) {
	t.Helper()
	if got := q.base(); got != want {
		t.Fatalf("ring base %#x, want %#x", got, want)
	}
}

func passOne(r *rig, segs ...seg) {
	r.Helper()
	id := r.drv.add(false, segs...)
	var c Chain
	r.next(&c)
	r.q.Complete(&c, 1)
	r.publish()
	r.wantUsed(id, 1)
}

// TestRingRestart : a queue that starts where another stopped goes on without a gap, in the
// middle of a lap.
func TestRingRestart(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 8})
		for range 20 {
			for range 3 {
				passOne(r, seg{dataAt, 1, false}, seg{dataAt, 1, true}, seg{dataAt, 9, true})
			}
			c := r.drv.config()
			c.base = r.q.base()
			q, err := newQueue(c, r.mem, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(q.close)
			r.q = q
		}
	})
}
