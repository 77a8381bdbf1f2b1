package mirror

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var rings = []RingDigest{{0, 0, 5}, {1, 0, 6}}

// checkpoint seals, waits and goes on.
func checkpoint(t *testing.T, g *pairing, st *Stream, p, s *side, epoch uint64) {
	t.Helper()
	for _, d := range g.source {
		d.close()
	}
	if err := st.Seal(context.Background(), epoch, rings); err != nil {
		t.Fatal(err)
	}
	s.expect(t, Sealed{epoch, rings})
	s.expect(t, Complete{epoch})
	g.same(t)
	told(t, s.Ack(epoch))
	p.expect(t, Acked{epoch})
	for range 2 { // a second queue that starts announces it once more
		told(t, st.RingStart(epoch))
	}
	s.expect(t, RingsStarting{epoch})
	told(t, s.AckStart(epoch))
	p.expect(t, StartAcked{epoch})
	told(t, s.Report(epoch, int64(epoch)-1))
	p.expect(t, Reported{epoch, int64(epoch) - 1})
}

func told(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
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
			told(t, p.AnnounceShutdown(GuestShutdown))
			s.expect(t, ShutdownAnnounced{GuestShutdown})
			told(t, s.AckShutdown())
			p.expect(t, ShutdownAcked{})
			p.GiveUp(Leaving, "bye\x1b[2J")
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

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p, s *Config)
		want   error
		text   string
	}{
		{"name", func(p, s *Config) { p.Hello.Name = "db" }, ErrWrongPeer, `"web"`},
		{"volume", func(p, s *Config) { disk(p).ID = ID{9} }, ErrWrongVolume, ""},
		{"wanted volume", func(p, s *Config) { disk(p).Peer = ID{9} }, ErrWrongVolume, ""},
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
		if _, err := Open(context.Background(), a, g.p); !errors.Is(err, ErrSilent) {
			t.Error(err)
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
		held := g.sink.hold()
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
		close(held)
		s.ended(t, ErrLost)
	})
}

// TestNothingIsLeftInFlight: what arrived before a seal is credited, though nothing comes after it.
func TestNothingIsLeftInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		st := g.sync(t, p, s)
		for i := range 100 {
			g.source[0].write(i*8192, filled(4096, 7))
		}
		for _, d := range g.source {
			d.close()
		}
		told(t, st.Seal(context.Background(), 0, nil))
		<-time.After(time.Minute)
		if p.Err() != nil || p.Stats().InFlight != 0 {
			t.Errorf("%v, %+v", p.Err(), p.Stats())
		}
	})
}

// TestSealThenLost: what came before the end of the connection counts, even if the store is slow.
func TestSealThenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		st := g.sync(t, p, s)
		held := g.sink.hold()
		g.source[0].write(0, filled(4096, 7))
		for _, d := range g.source {
			d.close()
		}
		if err := st.Seal(context.Background(), 0, nil); err != nil {
			t.Fatal(err)
		}
		p.Close()
		close(held)
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
		asked := g.p.Clock()
		for range 2 { // the answer to the newest stands for both
			told(t, p.AskRenewal(time.Second))
			s.expect(t, RenewalAsked{time.Second})
		}
		<-time.After(300 * time.Millisecond)
		told(t, s.Renew())
		p.expect(t, Renewed{asked + time.Second})
		told(t, s.Renew())
		synctest.Wait()
		if len(p.events) > 0 || p.Err() != nil {
			t.Error("one promise too many")
		}
		if p.AskRenewal(0) == nil || p.AskRenewal(time.Hour) == nil {
			t.Error("any promise goes")
		}
	})
}

// TestProgress: while the primary holds its guest, it hears of every step.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPairing()
		a, b := net.Pipe()
		p, s := g.connect(t, a, b)
		st := g.sync(t, p, s)
		held := g.sink.hold()
		g.source[0].write(0, filled(2<<20, 7))
		for _, d := range g.source {
			d.close()
		}
		told(t, st.Seal(context.Background(), 0, nil))
		synctest.Wait()
		if len(p.events) > 0 {
			t.Errorf("%+v", <-p.events)
		}
		held <- struct{}{}
		p.expect(t, Progress{})
		held <- struct{}{}
		p.expect(t, Progress{})
		s.expect(t, Sealed{0, nil})
	})
}

func TestLastWords(t *testing.T) {
	for _, c := range []struct {
		say  func(p, s *side)
		want func(p, s *side)
	}{
		{func(p, s *side) { p.GiveUp(TooSlow, "x") }, func(p, s *side) {
			s.expect(t, GaveUp{TooSlow, "x"})
			s.ended(t, ErrGivenUp)
			p.ended(t, ErrClosed)
		}},
		{func(p, s *side) { p.HandOver(Storage, "x") }, func(p, s *side) {
			s.expect(t, HandedOver{Storage, "x"})
			s.ended(t, ErrHandedOver)
			p.ended(t, ErrClosed)
		}},
		{func(p, s *side) { s.Leave(Poisoned, "x") }, func(p, s *side) {
			p.expect(t, Left{Poisoned, "x"})
			p.ended(t, ErrLeft)
			s.ended(t, ErrClosed)
		}},
	} {
		g := newPairing()
		a, b := tcp(t)
		p, s := g.connect(t, a, b)
		c.say(p, s)
		c.want(p, s)
	}
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
