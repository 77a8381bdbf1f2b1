package pair

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror/witness"
)

// mayServe asks whether a stopped volume's side may serve with the operator as the witness.
func mayServe(t *testing.T, dir string, change func(*Config)) (err error) {
	t.Helper()
	opened(t, dir, func(s *checkpoint.Store) {
		state, _ := s.Pair()
		cfg := Config{Name: "test", Stores: []*checkpoint.Store{s}, Times: TimesFor(limit),
			Witness: witness.NewManual(Self(s), true, state.Generation), Log: hclog.NewNullLogger()}
		change(&cfg)
		p, made := NewPrimary(cfg)
		must(t, made)
		err = p.MayServe(context.Background())
	})
	return err
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// TestFormerPrimary comes back where the operator is the witness, while its partner serves: it finds that
// out, or serves only by the operator's word.
func TestFormerPrimary(t *testing.T) {
	d := newDuo(t)
	d.die() // not without giving its partner up, if there is time
	d.takeOver()
	before := uint64(0)
	opened(t, d.dirs[0], func(s *checkpoint.Store) {
		state, _ := s.Pair()
		before = state.Generation
	})
	serves := d.s.net.again(t)
	if now := d.s.pair.Status().Generation; now <= before {
		t.Fatalf("a takeover led from generation %d to %d", before, now)
	}
	at := func(peer string, alone bool) func(*Config) {
		return func(c *Config) { c.Peer, c.Alone = peer, alone }
	}
	if err := mayServe(t, d.dirs[0], at(serves, false)); !errors.Is(err, witness.ErrSuperseded) {
		t.Errorf("while its partner serves: %v", err)
	}
	for name, peer := range map[string]string{"no partner named": "", "partner away": nobody(t)} {
		if err := mayServe(t, d.dirs[0], at(peer, false)); err == nil || !strings.Contains(err.Error(), "--alone") {
			t.Errorf("%s: %v", name, err)
		}
		must(t, mayServe(t, d.dirs[0], at(peer, true)))
	}
	opened(t, d.dirs[0], func(s *checkpoint.Store) {
		if state, _ := s.Pair(); state.Generation != before {
			t.Errorf("questions changed the generation from %d to %d", before, state.Generation)
		}
	})
}

// again lets a link that was cut stand again.
func (n *network) again(t *testing.T) string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off = false
	return n.Addr().String()
}

// TestNewPrimary starts without asking anybody: nobody can serve a guest that was on one host only.
func TestNewPrimary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vol")
	must(t, checkpoint.Create(dir, checkpoint.CreateOptions{Size: testSize}))
	must(t, mayServe(t, dir, func(c *Config) { c.Peer = nobody(t) }))
}

// TestPartnerWaits lets a primary start whose partner only follows.
func TestPartnerWaits(t *testing.T) {
	d := newDuo(t)
	d.s.close()
	d.p.await("alone")
	d.p.close()
	s := startSide(t, d.dirs[1], sideOptions{secondary: true, salt: 3})
	must(t, mayServe(t, d.dirs[0], func(c *Config) { c.Peer = s.net.Addr().String() }))
}

// TestBothServed lets two sides serve by a mistake of the operator's: their generations differ, and the one
// that gives way loses what it did since the newest checkpoint that both really had.
func TestBothServed(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.checkpoint()
	d.p.machine.guest.quiet()
	d.s.net.cut()
	d.p.await("alone")
	d.s.machine.leave("error")
	d.takeOver()
	p, s := d.p.pair.Status().Generation, d.s.pair.Status().Generation
	if p == s {
		t.Fatalf("both serve in generation %d", p)
	}
	d.s.check("taken over")
	d.p.close()
	d.s.net.again(t)
	d.dirs[0], d.dirs[1] = d.dirs[1], d.dirs[0]
	d.p = d.s
	d.p.machine.guest.quiet()
	d.s = startSide(t, d.dirs[1], sideOptions{secondary: true, salt: 3})
	d.p.machine.again()
	must(t, d.p.pair.Reprotect(context.Background(), d.s.net.Addr().String(), "tcp:127.0.0.1:1"))
	d.join()
	d.checkpoint()
	d.s.check("the one that gave way")
}
