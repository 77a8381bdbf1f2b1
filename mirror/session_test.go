package mirror

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkpoint seals, waits and goes on.
func checkpoint(t *testing.T, g *pairing, st *Stream, p, s *side, epoch uint64) {
	t.Helper()
	for _, d := range g.source {
		d.close()
	}
	if err := st.Seal(context.Background(), epoch, []byte("rings")); err != nil {
		t.Fatal(err)
	}
	p.expect(t, Acked{epoch})
	s.expect(t, Sealed{epoch, []byte("rings")})
	s.expect(t, Complete{epoch})
	g.same(t)
	for range 2 { // a second queue that starts announces it once more
		if err := st.RingStart(epoch); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(t, RingStarted{epoch})
	if err := s.Report(epoch, int64(epoch)-1); err != nil {
		t.Fatal(err)
	}
	p.expect(t, Reported{epoch, int64(epoch) - 1})
}

func TestEpochs(t *testing.T) {
	for name, link := range map[string]func(*testing.T) (a, b net.Conn){
		"pipe": func(*testing.T) (a, b net.Conn) { return net.Pipe() }, "tcp": tcp, "tls": tlsPair,
	} {
		t.Run(name, func(t *testing.T) {
			g := newPairing()
			copy(g.source[0].content[2<<20:], filled(1<<20, 1))
			a, b := link(t)
			p, s := g.connect(t, a, b)
			if p.Generation() != 3 || s.Generation() != 3 || p.Peer().Generation != 2 {
				t.Error("generation")
			}
			st := g.sync(t, p, s)
			for epoch := range uint64(5) {
				for i := range 40 {
					g.source[0].write(i*4096*int(epoch+1), filled(4096, byte(i)))
					g.source[1].write(i*512, filled(1024, byte(i)))
				}
				g.source[0].zero(8192, 1<<20)
				g.source[0].write(0, filled(3<<20, byte(epoch)))
				checkpoint(t, g, st, p, s, epoch)
			}
			if got := p.Stats(); got.Sent < 15<<20 {
				t.Errorf("%+v", got)
			}
			p.Shutdown(GuestShutdown)
			p.GiveUp(Leaving, "bye\x1b[2J")
			s.expect(t, Shutdown{GuestShutdown})
			s.expect(t, GaveUp{Leaving, `bye\x1b[2J`})
			s.ended(t, ErrGivenUp)
			p.ended(t, ErrClosed)
			for _, d := range g.source {
				if d.released != d.taken {
					t.Errorf("%d of %d batches released", d.released, d.taken)
				}
			}
		})
	}
}

// TestFromFiles sends from a file by the kernel, and holds the pages until they arrived.
func TestFromFiles(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i>>9) ^ byte(i)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	g := newPairing()
	a, b := tcp(t)
	p, s := g.connect(t, a, b)
	st := g.sync(t, p, s)
	d := g.source[0]
	d.mu.Lock()
	for i := 0; i < 200; i++ { // of neighbours, and of some that are none
		off := i * 4096 * (1 + i/100*2)
		part := content[off : off+4096]
		d.changed = append(d.changed, Change{Off: int64(off), Len: 4096, From: f, At: int64(off),
			Sum: Checksum(part), Summed: true})
		copy(d.content[off:], part)
	}
	d.mu.Unlock()
	g.source[0].zero(4096, 4096)
	checkpoint(t, g, st, p, s, 0)
	p.Close()
	if d.released != d.taken {
		t.Errorf("%d of %d batches released", d.released, d.taken)
	}
}

// TestEndToEnd: what changed after the guest wrote it is not stored.
func TestEndToEnd(t *testing.T) {
	g := newPairing()
	a, b := net.Pipe()
	p, s := g.connect(t, a, b)
	g.sync(t, p, s)
	d := g.source[0]
	d.mu.Lock()
	other := bytes.NewReader(filled(4096, 3))
	d.changed = append(d.changed, Change{Len: 4096, From: other, Sum: 5, Summed: true})
	d.signal()
	d.mu.Unlock()
	s.ended(t, ErrChecksum)
	p.ended(t, ErrLost)
	if bytes.Contains(g.sink.staged[0], []byte{3}) {
		t.Error("it was stored")
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p, s *Config)
		want   error
		text   string
	}{
		{"name", func(p, s *Config) { p.Hello.Name = "db" }, ErrWrongPeer, `"web"`},
		{"pair", func(p, s *Config) { p.Hello.Pair, s.Hello.Pair = ID{1}, ID{2} }, ErrWrongPeer, ""},
		{"volume", func(p, s *Config) { disk(p).ID = ID{9} }, ErrWrongVolume, ""},
		{"number of disks", func(p, s *Config) { p.Hello.Disks = p.Hello.Disks[:1] }, ErrWrongVolume, ""},
		{"size", func(p, s *Config) { disk(p).Size += 512 }, ErrSize, "4194304"},
		{"two primaries", func(p, s *Config) { s.Hello.Role = Primary }, ErrRole, "both are primary"},
		{"two secondaries", func(p, s *Config) { p.Hello.Role, p.Hello.Window = Secondary, 4<<20 }, ErrRole, ""},
		{"older primary", func(p, s *Config) { s.Hello.Generation = 4 }, ErrOlderGeneration, ""},
		{"not now", func(p, s *Config) { s.Admit = func(*Hello) error { return errBroken } }, ErrNotAdmitted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newPairing()
			g.p.Hello.Disks = slices.Clone(g.p.Hello.Disks) // the sides share them
			c.change(&g.p, &g.s)
			a, b := tcp(t)
			other := make(chan error)
			go func() { _, err := Open(context.Background(), b, g.s); other <- err }()
			_, err := Open(context.Background(), a, g.p)
			second := <-other
			for _, err := range []error{err, second} {
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %v with %q", err, c.want, c.text)
				}
			}
			if len(g.sink.begun) > 0 {
				t.Error("something changed")
			}
		})
	}
}

func disk(c *Config) *DiskHello { return &c.Hello.Disks[0] }

func TestVisitor(t *testing.T) {
	g := newPairing()
	a, b := tcp(t)
	other := make(chan error)
	go func() { _, err := Open(context.Background(), b, g.s); other <- err }()
	g.p.Hello.Generation = 0 // a visitor's does not matter
	peer, err := Ask(context.Background(), a, g.p)
	if err != nil || peer.Generation != 2 || peer.Role != Secondary {
		t.Errorf("%+v, %v", peer, err)
	}
	if err := <-other; !errors.Is(err, ErrVisited) {
		t.Error(err)
	}
}

func TestPeerIsSomethingElse(t *testing.T) {
	g := newPairing()
	a, b := tcp(t)
	go func() { b.Write([]byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")); b.Close() }()
	if _, err := Open(context.Background(), a, g.p); !errors.Is(err, ErrNotMirror) {
		t.Fatal(err)
	}
}

// TestOpenEnds: a peer that says nothing does not hold Open up, and neither does the context.
func TestOpenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, _ := net.Pipe()
		if _, err := Open(context.Background(), a, g.p); err == nil {
			t.Error("opened with nobody")
		}
		a, _ = net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Open(ctx, a, g.p); err == nil {
			t.Error("opened with nobody")
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		gate := &gated{Conn: b, open: make(chan struct{})}
		p, s := g.connect(t, a, gate)
		<-time.After(time.Minute) // both say something now and then
		if p.Err() != nil || s.Err() != nil {
			t.Fatal(p.Err(), s.Err())
		}
		gate.shut.Store(true)
		p.ended(t, ErrSilent)
		close(gate.open)
		<-s.Done()
	})
}

// TestSlow: a store that takes nothing makes the session end, not wait.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		g.sync(t, p, s)
		g.sink.block = make(chan struct{})
		for range 4 {
			g.source[0].write(0, filled(3<<20, 7))
		}
		synctest.Wait()
		if n := p.Stats().InFlight; n == 0 || n > 4<<20 {
			t.Errorf("%d bytes in flight", n)
		}
		p.ended(t, ErrSlow)
		if g.source[0].taken == 0 {
			t.Error("nothing was taken")
		}
		close(g.sink.block)
		s.ended(t, ErrLost)
	})
}

// TestSealThenLost: what came before the end of the connection counts, even if the store is slow.
func TestSealThenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		st := g.sync(t, p, s)
		g.sink.block = make(chan struct{})
		g.source[0].write(0, filled(4096, 7))
		for _, d := range g.source {
			d.close()
		}
		if err := st.Seal(context.Background(), 0, nil); err != nil {
			t.Fatal(err)
		}
		p.Close()
		close(g.sink.block)
		s.ended(t, ErrLost)
		s.expect(t, Sealed{0, nil})
		s.expect(t, Complete{0})
	})
}

func TestPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		if err := p.Renew(time.Second); err != nil {
			t.Fatal(err)
		}
		p.expect(t, Renewed{})
		if left := g.p.Lease.Left(); left != time.Second {
			t.Errorf("%v left", left)
		}
		<-time.After(300 * time.Millisecond)
		if left, wait := g.p.Lease.Left(), g.s.Promise.Stop(); left > wait || wait != 700*time.Millisecond {
			t.Errorf("the lease holds for %v, the promise for %v", left, wait)
		}
		if err := p.Renew(time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := g.p.Lease.Left(); left > 700*time.Millisecond {
			t.Errorf("promised while taking over: %v", left)
		}
		if p.Renew(0) == nil || p.Renew(time.Hour) == nil {
			t.Error("any promise goes")
		}
		s.Close()
	})
}

func TestSinkFails(t *testing.T) {
	g := newPairing()
	a, b := net.Pipe()
	p, s := g.connect(t, a, b)
	g.sync(t, p, s)
	g.sink.mu.Lock()
	g.sink.err = errBroken
	g.sink.mu.Unlock()
	g.source[0].write(0, filled(4096, 7))
	s.ended(t, ErrSink)
	s.ended(t, errBroken)
	p.ended(t, ErrLost)
}
