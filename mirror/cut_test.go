package mirror

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// frail is a connection that breaks when so many bytes went through it, in both directions together.
type frail struct {
	net.Conn
	left *atomic.Int64
}

func (f frail) Write(p []byte) (int, error) {
	left := f.left.Add(-int64(len(p)))
	if left >= 0 {
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:max(0, int64(len(p))+left)])
	f.Conn.Close()
	return n, net.ErrClosed
}

// TestCut breaks the link at any byte. What is complete by then is what the primary had at the seal,
// what is not complete is never said to be; and everything ends, with everything given back.
func TestCut(t *testing.T) {
	cuts := 60
	if testing.Short() {
		cuts = 20
	}
	complete := 0
	for seed := range uint64(cuts) {
		synctest.Test(t, func(t *testing.T) {
			complete += cutOnce(t, rand.New(rand.NewPCG(seed, 5)))
		})
	}
	if complete == 0 || complete == cuts*3 {
		t.Errorf("%d epochs were complete: the cuts are in the wrong places", complete)
	}
}

// cutOnce runs three epochs over a frail link and returns how many of them were complete.
func cutOnce(t *testing.T, r *rand.Rand) (complete int) {
	g := newPairing()
	a, b := net.Pipe()
	var left atomic.Int64
	left.Store(1 << 40)
	p, s := g.connect(t, frail{a, &left}, frail{b, &left})
	st := g.sync(t, p, s)
	left.Store(r.Int64N(4 << 20))

	sealed := map[uint64][2][]byte{} // what the disks were
	for epoch := range uint64(3) {
		for range 20 {
			d := g.source[r.IntN(2)]
			n := (1 + r.IntN(100)) * sector
			off := r.IntN((len(d.content)-n)/sector) * sector
			if r.IntN(4) == 0 {
				d.zero(off, n)
			} else {
				d.write(off, filled(n, byte(r.Uint32())))
			}
		}
		sealed[epoch] = [2][]byte{bytes.Clone(g.source[0].content), bytes.Clone(g.source[1].content)}
		if !throughEpoch(t, g, st, s, epoch) {
			break
		}
		complete++
		for i, want := range sealed[epoch] {
			if !bytes.Equal(g.sink.staged[i], want) {
				t.Fatalf("disk %d is not what it was at seal %d", i, epoch)
			}
		}
		if st.RingStart(epoch) != nil {
			break
		}
	}
	p.Close()
	<-s.Done()
	for i, d := range g.source {
		if d.released != d.taken {
			t.Fatalf("disk %d: %d of %d batches released", i, d.released, d.taken)
		}
	}
	return complete
}

// throughEpoch seals, and says whether the secondary came to say that it is complete.
func throughEpoch(t *testing.T, g *pairing, st *Stream, s *side, epoch uint64) bool {
	for _, d := range g.source {
		d.close()
	}
	_ = st.Seal(context.Background(), epoch, rings)
	synctest.Wait()
	for {
		select {
		case e := <-s.events:
			if e, ok := e.(Complete); ok {
				if e.Epoch != epoch {
					t.Fatal(fmt.Sprint(e))
				}
				_ = s.Ack(epoch)
				return true
			}
		default:
			return false
		}
	}
}

// TestCutsAreAligned: a frame that holds a disk's odd end cuts what follows between blocks.
func TestCutsAreAligned(t *testing.T) {
	var p parcel
	p.add(Change{Off: 1 << 30, Len: 3 * sector})
	rest := p.add(Change{Len: 2 << 20})
	if rest.Off%cutAlign != 0 || rest.Off != maxBulk-cutAlign || !p.full() {
		t.Errorf("%+v after %d bytes", rest, p.bulk)
	}
	if rest = (&parcel{}).add(rest); rest.Off != 2*maxBulk-cutAlign || rest.Len != cutAlign {
		t.Errorf("%+v", rest)
	}
}

func TestCommon(t *testing.T) {
	p := Hello{Marks: []Mark{{5, 9}, {5, 8}, {4, 30}, {}}}
	for _, c := range []struct {
		marks []Mark
		want  Mark
	}{
		{nil, Mark{}},
		{[]Mark{{}}, Mark{}},
		{[]Mark{{5, 10}, {5, 8}, {4, 30}}, Mark{5, 8}},
		{[]Mark{{4, 30}, {5, 8}}, Mark{5, 8}},
		{[]Mark{{4, 9}, {5, Base}}, Mark{}},
	} {
		got, ok := Common(&p, &Hello{Marks: c.marks})
		if got != c.want || ok == c.want.IsZero() {
			t.Errorf("%v: %v, %v, want %v", c.marks, got, ok, c.want)
		}
	}
}

// TestSealIsCancelled: what ran dry meanwhile counts when it is asked again.
func TestSealIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		p, s := g.piped(t)
		st := g.sync(t, p, s)
		ctx, cancel := context.WithCancel(context.Background())
		g.source[0].close()
		synctest.Wait() // one is dry, the other one not
		cancel()
		if err := st.Seal(ctx, 0, nil); err != ctx.Err() {
			t.Fatal(err)
		}
		if err := st.Seal(context.Background(), 1, nil); err == nil {
			t.Fatal("sealed an epoch that is not open")
		}
		g.source[1].close()
		told(t, st.Seal(context.Background(), 0, nil))
		s.expect(t, Sealed{0, nil})
		s.expect(t, Complete{0})
	})
}

// TestLastWordsDoNotWait: who gives up a peer that hangs is not held up by it.
func TestLastWordsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		gate := &gated{Conn: a, open: make(chan struct{})}
		p, s := g.connect(t, gate, b)
		gate.shut.Store(true)
		p.GiveUp(TooSlow, "")
		p.GiveUp(TooSlow, "again")
		close(gate.open)
		s.expect(t, GaveUp{TooSlow, ""})
		p.ended(t, ErrClosed)
	})
}
