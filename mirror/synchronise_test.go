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
	if err := p.Sync(context.Background(), plan, src.prepare, SyncOptions{}); !errors.Is(err, errBroken) {
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
	if err := p.Sync(context.Background(), plan, src.prepare, tell); err != nil {
		t.Fatal(err)
	}
	g.sink.mu.Lock()
	defer g.sink.mu.Unlock()
	if !bytes.Equal(g.sink.disks[0], d.content) {
		t.Error("the disk differs")
	}
	if last.Sent != uint64(diskSize-first) || last.Durable != diskSize {
		t.Errorf("%+v after %d bytes", last, first)
	}
	lost, arrived := src.lost.Load(), src.arrived.Load()
	if src.given != lost+arrived || arrived < diskSize/(256<<10) {
		t.Errorf("%d batches, %d arrived, %d did not", src.given, arrived, lost)
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
		err := p.Sync(context.Background(), SyncPlan{Run: runA, Size: diskSize}, src.prepare, o)
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

// TestSyncToASlowDisk: nobody waits for a synchronisation, so it may take its time.
func TestSyncToASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		g.sink.slow = time.Minute
		p, s := g.piped(t)
		g.sync(t, p, s)
		if p.Err() != nil {
			t.Error(p.Err())
		}
	})
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
		if err := p.Sync(ctx, SyncPlan{Run: runA, Size: diskSize}, src.prepare, o); err == nil {
			t.Error("it is complete")
		}
		<-p.Done()
		s.ended(t, ErrLost)
	})
}

func TestWithout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 40
		draw := func(name string) (covered []bool, ranges []Range) {
			covered = rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, name)
			for i, c := range covered {
				if c {
					ranges = merge(ranges, Range{int64(i), 1})
				}
			}
			return covered, ranges
		}
		wanted, from := draw("from")
		had, have := draw("have")
		left := make([]bool, n)
		for _, r := range Without(from, have) {
			for i := range r.Len {
				if left[r.Off+i] {
					t.Fatalf("%v twice", r)
				}
				left[r.Off+i] = true
			}
		}
		for i := range n {
			if want := wanted[i] && !had[i]; left[i] != want {
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
	base := Mark{3, Base}
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
	g.sink.mu.Lock()
	g.sink.disks[0][2<<20+5] ^= 1
	g.sink.disks[0][diskSize-1] ^= 1
	g.sink.mu.Unlock()
	want := []Range{{2 << 20, 4096}, {diskSize - 4096, 4096}} // 1,024 chunks: several requests
	if d := ask(Range{0, diskSize}, 4096); len(d) != 2 || d[0] != want[0] || d[1] != want[1] {
		t.Errorf("%v differ, want %v", d, want)
	}
	if d := ask(Range{3 << 20, 1<<20 - 4096}, 1<<20); len(d) != 0 {
		t.Errorf("%v differ", d)
	}
	for _, chunk := range []int{0, 1000, 1 << 30} {
		if _, err := p.Verify(context.Background(), 0, base, Range{0, 4096}, chunk); err == nil {
			t.Errorf("chunks of %d bytes", chunk)
		}
	}
	_, err := p.Verify(context.Background(), 0, markA, Range{0, 4096}, 4096)
	if !errors.Is(err, ErrUnknownMark) {
		t.Error(err)
	}
}
