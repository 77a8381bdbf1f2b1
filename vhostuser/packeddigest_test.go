package vhostuser

import (
	"math/rand/v2"
	"testing"
)

const (
	digestSize = 16
	digestMask = 1<<32 - 1
)

func digestOf(t *testing.T, q *Queue) uint64 {
	t.Helper()
	sum, err := q.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// again is a queue that starts where another stopped, on a copy of the memory.
func again(t *testing.T, r *rig) *rig {
	t.Helper()
	c, mem := r.drv.config(), r.mem.clone()
	c.base = r.q.base()
	q, err := newQueue(c, mem, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close)
	return &rig{TB: t, mem: mem, drv: r.drv.at(mem), q: q}
}

// TestPackedDigest : what a packed ring shows at a stop its memory shows at the start that follows, on
// whatever host, though its driver goes on at once; and two rings that stand at the same place after other
// requests do not show the same.
func TestPackedDigest(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	compared := 0
	for round := range 300 {
		r := newRig(t, rigOptions{packed: true, size: digestSize})
		other := newRig(t, rigOptions{packed: true, size: digestSize})
		for range rnd.IntN(60) {
			segs := []seg{{dataAt, 1, false}, {dataAt, 1, true}}[rnd.IntN(2):]
			passOne(r, segs...)
			segs[0].addr += 64 * uint64(1+rnd.IntN(9))
			passOne(other, segs...)
		}
		for range rnd.IntN(4) { // what is not taken yet
			r.drv.add(false, seg{dataAt, 1, true})
		}
		stopped := digestOf(t, r.q)
		s := again(t, r)
		for n := min(rnd.IntN(8), s.drv.room()); n > 0; n-- { // its guest runs already
			s.drv.add(false, seg{dataAt + 4096, 9, true})
		}
		half(t, s, rnd)
		started := digestOf(t, s.q)
		switch {
		case started>>32 != stopped>>32:
			t.Fatalf("seed %d, round %d: it stopped at %x and starts at %x", seed, round, stopped, started)
		case started&digestMask == 0 || stopped&digestMask == 0:
			continue
		case started != stopped:
			t.Fatalf("seed %d, round %d: it showed %x and shows %x", seed, round, stopped, started)
		}
		compared++
		if otherwise := digestOf(t, other.q); r.q.position() == other.q.position() && used(r) &&
			otherwise == stopped {
			t.Fatalf("seed %d, round %d: other requests show the same", seed, round)
		}
	}
	if compared < 100 {
		t.Errorf("seed %d: of 300 only %d could be compared", seed, compared)
	}
}

// used says whether the ring has gone round, so that requests lie in what is summed.
func used(r *rig) bool {
	p := r.q.layout.(*packed)
	return !p.avail.wrap || int(p.avail.idx) > digestSize/2
}

func (q *Queue) position() uint32 { return q.layout.position() }

// half has the driver be in the middle of a chain: all but its first descriptor look available.
func half(t *testing.T, r *rig, rnd *rand.Rand) {
	t.Helper()
	d := r.drv.(*packedDriver)
	n := min(rnd.IntN(4), d.room())
	at := d.avail
	for k := range n {
		e := d.desc[int(at.idx)*descLen:]
		put64(e, 0, rnd.Uint64())
		put32(e, 8, rnd.Uint32())
		if k > 0 {
			put32(e, 12, uint32(k)|uint32(d.offered(at))<<16)
		}
		at = at.after(1, digestSize)
	}
}

// TestPackedDigestFull : a ring that its driver has filled tells where it stands and no more.
func TestPackedDigestFull(t *testing.T) {
	r := newRig(t, rigOptions{packed: true, size: digestSize})
	for range 21 {
		passOne(r, seg{dataAt, 1, true})
	}
	before := digestOf(t, r.q)
	for r.drv.room() > 0 {
		r.drv.add(false, seg{dataAt, 1, true})
	}
	full := digestOf(t, r.q)
	if full&digestMask != 0 || full>>32 != before>>32 || before&digestMask == 0 {
		t.Errorf("it showed %x and shows %x", before, full)
	}
}
