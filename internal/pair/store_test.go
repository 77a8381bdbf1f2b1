package pair

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

const testSize = 1 << 20

// newVolume makes an empty volume.
func newVolume(t *testing.T) *volume {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vol")
	if err := checkpoint.Create(dir, checkpoint.CreateOptions{Size: testSize}); err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &volume{Store: s}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, v *volume) []byte {
	t.Helper()
	p := make([]byte, testSize)
	_, err := v.ReadAt(p, 0)
	must(t, err)
	return p
}

func write(t *testing.T, v *volume, block int, b byte) {
	t.Helper()
	_, err := v.WriteAt(bytes.Repeat([]byte{b}, 4096), int64(block)*4096)
	must(t, err)
}

// carry takes a source's batches to a sink until one is Done.
func carry(t *testing.T, s *source, take func([]mirror.Piece) error) {
	t.Helper()
	for {
		b, err := s.Next(64 << 10)
		must(t, err)
		var pieces []mirror.Piece
		for _, c := range b.Changes {
			p := mirror.Piece{Off: c.Off, Len: c.Len}
			if !c.Zero {
				p.Data = make([]byte, c.Len)
				_, err := c.From.ReadAt(p.Data, c.At)
				must(t, err)
			}
			pieces = append(pieces, p)
		}
		if len(pieces) > 0 {
			must(t, take(pieces))
		}
		b.Release(true)
		if b.Done {
			return
		}
	}
}

// couple is a primary's volume and the sink of a secondary's, without anything between them.
type couple struct {
	p, s *volume
	sink *sink
	src  *source
}

// synchronised makes one, in a generation.
func (c *couple) synchronise(t *testing.T, generation uint64, from mirror.Mark) (sent int64) {
	t.Helper()
	tracker, err := c.p.Track()
	must(t, err)
	base := mirror.Mark{Generation: generation, Epoch: mirror.Base}
	since := uint32(0)
	if !from.IsZero() {
		since, _ = c.p.find(from)
	}
	have, err := c.sink.SyncBegin(mirror.SyncPlan{Run: mirror.ID{byte(generation)}, From: from, Size: testSize})
	must(t, err)
	sent, err = lack(context.Background(), c.p, tracker, since, have)
	must(t, err)
	c.src = newSource(c.p, tracker)
	c.src.left, c.src.cut = sent, func() error {
		_, _, err := tracker.Start(markName(base, 0))
		return err
	}
	carry(t, c.src, func(p []mirror.Piece) error { return c.sink.SyncWrite(0, p) })
	_, err = c.sink.SyncFlush(0)
	must(t, err)
	must(t, c.sink.SyncEnd(base, 0))
	c.src = newSource(c.p, tracker)
	return sent
}

func (c *couple) seal(t *testing.T, m mirror.Mark) {
	t.Helper()
	_, _, err := c.src.tracker.Start(markName(m, 0))
	must(t, err)
	carry(t, c.src, func(p []mirror.Piece) error { return c.sink.Write(0, uint64(m.Epoch), p) })
	must(t, c.sink.Seal(uint64(m.Epoch)))
}

func (c *couple) same(t *testing.T, when string) {
	t.Helper()
	if !bytes.Equal(content(t, c.p), content(t, c.s)) {
		t.Fatalf("%s: the disks differ", when)
	}
}

func newCouple(t *testing.T) *couple {
	c := &couple{p: newVolume(t), s: newVolume(t)}
	c.sink = newSink([]*volume{c.s}, func(mirror.SyncPlan) error { return nil })
	return c
}

// TestEpochsArrive carries a disk and its epochs over; the secondary's own writes go with each load, also
// with one of an epoch that is current, and what it had before is gone.
func TestEpochsArrive(t *testing.T) {
	c := newCouple(t)
	write(t, c.p, 1, 'a')
	write(t, c.s, 7, 'x') // of an earlier life
	c.synchronise(t, 1, mirror.Mark{})
	c.same(t, "synchronised")
	write(t, c.p, 2, 'b')
	must(t, c.p.Zero(4096, 4096))
	c.seal(t, mirror.Mark{Generation: 1, Epoch: 0})
	write(t, c.s, 2, 'y') // its guest ran ahead
	must(t, c.sink.load(0))
	c.same(t, "epoch 0")
	write(t, c.s, 3, 'z')
	must(t, c.sink.load(0))
	c.same(t, "epoch 0 again")
	for e := range int64(2) { // the first one is never loaded by itself
		write(t, c.p, int(4+e), 'c')
		c.seal(t, mirror.Mark{Generation: 1, Epoch: 1 + e})
	}
	must(t, c.sink.load(2))
	c.same(t, "two epochs")
	c.src.tracker.Close()
}

// TestReprotect synchronises again, the other way: only what differs is sent.
func TestReprotect(t *testing.T) {
	c := newCouple(t)
	for i := range 100 {
		write(t, c.p, i, 'a')
	}
	if n := c.synchronise(t, 1, mirror.Mark{}); n != 100*4096 {
		t.Errorf("%d bytes sent at first", n)
	}
	c.seal(t, mirror.Mark{Generation: 1, Epoch: 0})
	must(t, c.sink.load(0))
	c.src.tracker.Close()
	write(t, c.p, 5, 'p') // the primary died with this
	write(t, c.s, 6, 's') // the secondary went on with that
	c.p, c.s = c.s, c.p
	c.sink = newSink([]*volume{c.s}, func(mirror.SyncPlan) error { return nil })
	common := mirror.Mark{Generation: 1, Epoch: 0}
	if _, ok := c.s.find(common); !ok {
		t.Fatal("the old primary has no mark of the epoch:", c.s.marks())
	}
	if n := c.synchronise(t, 2, common); n != 4096 {
		t.Errorf("%d bytes sent for one changed block", n)
	}
	c.same(t, "there and back")
	c.src.tracker.Close()
}

// TestBrokenSynchronisation begins a run twice: what was taken stays.
func TestBrokenSynchronisation(t *testing.T) {
	c := newCouple(t)
	plan := mirror.SyncPlan{Run: mirror.ID{1}, Size: testSize}
	have, err := c.sink.SyncBegin(plan)
	must(t, err)
	must(t, c.sink.SyncWrite(0, []mirror.Piece{{Off: 0, Len: 4096, Data: bytes.Repeat([]byte{'a'}, 4096)}}))
	again, err := c.sink.SyncBegin(plan)
	must(t, err)
	if len(have) != 0 || len(again) != 1 || again[0].Len != testSize || content(t, c.s)[0] != 'a' {
		t.Errorf("had %v, then %v", have, again)
	}
	plan.Run = mirror.ID{2}
	if have, err = c.sink.SyncBegin(plan); err != nil || len(have) != 0 || content(t, c.s)[0] != 0 {
		t.Errorf("a new run has %v, %v", have, err)
	}
}

// TestUnplannedSynchronisation ends a session before this side knew what the partner lacks. The partner would
// say of the same run that it still has all that it took, which is nothing, and nothing would be sent.
func TestUnplannedSynchronisation(t *testing.T) {
	for _, planned := range []int32{0, 1} {
		p := idle(t, nil, true)
		p.ctx = context.Background()
		tracker, err := p.volumes[0].Track()
		must(t, err)
		c := &copying{run: newID(), trackers: []*checkpoint.Tracker{tracker}}
		c.planned.Store(planned)
		p.out = &outgoing{copy: c}
		p.p, _ = p.p.Step(colo.PeerUp{})
		p.seeking = true // nobody is there to be sought
		p.lostPeer(&mirror.Session{}, p.out)
		if kept := p.copy == c; kept != (planned == 1) {
			t.Errorf("planned %d: the run is kept: %v", planned, kept)
		}
		p.copy.close()
	}
}

// TestBrokenBegin cannot bring a disk to where a run begins: no session may take it for one that is.
func TestBrokenBegin(t *testing.T) {
	c := newCouple(t)
	plan := mirror.SyncPlan{Run: mirror.ID{1}, Size: testSize, From: mirror.Mark{Generation: 4, Epoch: 4}}
	for range 2 {
		if have, err := c.sink.SyncBegin(plan); !errors.Is(err, mirror.ErrUnknownMark) {
			t.Errorf("has %v, %v", have, err)
		}
	}
}

// TestReaderKeepsPoints reads a past state while later ones replace it.
func TestReaderKeepsPoints(t *testing.T) {
	c := newCouple(t)
	write(t, c.p, 0, 'a')
	c.synchronise(t, 1, mirror.Mark{})
	r := newReader([]*volume{c.s})
	defer r.close()
	base, p := mirror.Mark{Generation: 1, Epoch: mirror.Base}, make([]byte, 4096)
	for e := range int64(3) {
		must(t, r.ReadMark(base, 0, p, 0))
		if p[0] != 'a' {
			t.Fatalf("after %d epochs: %q", e, p[0])
		}
		write(t, c.p, 0, 'b')
		c.seal(t, mirror.Mark{Generation: 1, Epoch: e})
		must(t, c.sink.load(uint64(e)))
		c.s.hold(0)
	}
	if err := r.ReadMark(mirror.Mark{Generation: 9}, 0, p, 0); err != mirror.ErrUnknownMark {
		t.Errorf("a mark that is not there: %v", err)
	}
	c.src.tracker.Close()
}
