package mirror

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// TestSyncGoesOn breaks a synchronisation and takes it up again: what the secondary has is not sent
// a second time.
func TestSyncGoesOn(t *testing.T) {
	g := newPairing()
	d := g.source[0]
	copy(d.content[1<<20:], filled(1<<20, 9))
	copy(d.content[3<<20:], filled(1<<20, 5))
	plan := SyncPlan{Run: runA, Size: diskSize, All: 2 << 20}

	a, b := tcp(t)
	p, s := g.connect(t, a, b)
	src := &point{content: d.content, step: 256 << 10, fail: 3 << 20}
	if err := p.Sync(context.Background(), plan, src, SyncOptions{}); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	p.ended(t, ErrSource)
	s.ended(t, ErrLost)
	first := g.sink.wrote
	if first == 0 || first > 3<<20 {
		t.Fatalf("%d bytes", first)
	}

	a, b = tcp(t)
	p, s = g.connect(t, a, b)
	src.fail = 0
	var last SyncProgress
	tell := SyncOptions{Progress: func(y SyncProgress) { last = y }}
	if err := p.Sync(context.Background(), plan, src, tell); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.sink.disks[0], d.content) {
		t.Error("the disk differs")
	}
	if last.Skipped != uint64(first) || last.Sent != uint64(diskSize-first) || last.At != diskSize {
		t.Errorf("%+v after %d bytes", last, first)
	}
	if last.Durable != diskSize {
		t.Errorf("%d bytes durable", last.Durable)
	}
	s.expect(t, SyncBegun{plan})
}

func TestSyncRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		copy(g.source[0].content, filled(diskSize, 9))
		p, _ := g.piped(t)
		begin := time.Now()
		o := SyncOptions{Limit: rate.NewLimiter(1<<20, 64<<10)}
		src := &point{content: g.source[0].content, step: 300 << 10}
		err := p.Sync(context.Background(), SyncPlan{Run: runA, Size: diskSize}, src, o)
		if took := time.Since(begin); err != nil || took < 3900*time.Millisecond || took > 4*time.Second {
			t.Errorf("4 MiB at 1 MiB/s took %v: %v", took, err)
		}
	})
}

// piped connects over a pipe.
func (g *pairing) piped(t *testing.T) (p, s *side) {
	t.Helper()
	a, b := net.Pipe()
	return g.connect(t, a, b)
}

func TestSyncIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		copy(g.source[0].content, filled(diskSize, 9))
		p, s := g.piped(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		o := SyncOptions{Limit: rate.NewLimiter(1<<20, 64<<10)}
		src := &point{content: g.source[0].content, step: 300 << 10}
		if err := p.Sync(ctx, SyncPlan{Run: runA, Size: diskSize}, src, o); err == nil {
			t.Error("it is complete")
		}
		<-p.Done()
		s.ended(t, ErrLost)
	})
}

func TestSubtract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 40
		covered := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "covered")
		off := rapid.IntRange(0, n-1).Draw(t, "off")
		length := rapid.IntRange(1, n-off).Draw(t, "length")
		var ranges []Range
		for i, c := range covered {
			if c {
				ranges = merge(ranges, Range{int64(i), 1})
			}
		}
		left := map[int64]bool{}
		change := Change{Off: int64(off), Len: int64(length), At: 100 + int64(off)}
		for _, c := range subtract(nil, change, ranges) {
			for i := range c.Len {
				if left[c.Off+i] || c.At != c.Off+100 {
					t.Fatalf("%+v", c)
				}
				left[c.Off+i] = true
			}
		}
		for i, c := range covered {
			if want := !c && i >= off && i < off+length; left[int64(i)] != want {
				t.Fatalf("sector %d: %v", i, left)
			}
		}
	})
}

func TestVerify(t *testing.T) {
	g := newPairing()
	copy(g.source[0].content, filled(diskSize, 9))
	ours := newMemSink(diskSize, 1<<20)
	ours.disks[0] = g.source[0].content
	g.p.Reader = ours
	a, b := tcp(t)
	p, s := g.connect(t, a, b)
	g.sync(t, p, s)
	base := Mark{runA, Base}
	ask := func(where Range, chunk int) []Range {
		t.Helper()
		differ, err := p.Verify(context.Background(), 0, base, where, chunk)
		if err != nil {
			t.Fatal(err)
		}
		return differ
	}
	if d := ask(Range{0, diskSize}, 64<<10); len(d) != 0 {
		t.Errorf("%v differ", d)
	}
	g.sink.disks[0][2<<20+5] ^= 1
	g.sink.disks[0][diskSize-1] ^= 1
	want := []Range{{2 << 20, 4096}, {diskSize - 4096, 4096}} // 1,024 chunks: several requests
	if d := ask(Range{0, diskSize}, 4096); len(d) != 2 || d[0] != want[0] || d[1] != want[1] {
		t.Errorf("%v differ, want %v", d, want)
	}
	if d := ask(Range{3 << 20, 1<<20 - 4096}, 1<<20); len(d) != 0 {
		t.Errorf("%v differ", d)
	}
	if _, err := p.Verify(context.Background(), 0, markA, Range{0, 4096}, 4096); !errors.Is(err, ErrUnknownMark) {
		t.Error(err)
	}
}
