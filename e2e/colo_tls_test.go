//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/certtest"
	"github.com/belay-vm/belay/tools/pair"
)

// TestColoSecured has a pair as a careful operator has it: certificates on both sides, two queues, a bound
// on the synchronisation, and a look at what is missing while it runs. Then its primary dies; and comes back
// as a primary, which it is not to be while the other side has the guest.
func TestColoSecured(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.queues = 2
	s.extra = []string{"--manual", "--peer-timeout", "3s", "--sync-rate", "40M"}
	ca := certtest.New(t)
	for _, id := range []pair.ID{pair.A, pair.B} {
		cert, key := ca.Make(s.net.Side(id).Addr, nil)
		s.own[id] = []string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", ca.File}
	}
	s.follow(ctx)
	for _, id := range []pair.ID{pair.A, pair.B} {
		out, err := s.check(ctx, id)
		t.Logf("%v:\n%s", id, out)
		if err != nil || strings.Contains(out, "missing ") || strings.Contains(out, "unknown ") {
			t.Errorf("the preflight of %v, which is protected: %v", id, err)
		}
	}
	s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 6))
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))
	s.servers[pair.A].Kill()
	s.vms[pair.A].Kill()
	s.takeOver(ctx, pair.B)
	s.goesOn(ctx, pair.B)
	s.refused(ctx, pair.A, "another generation was won", "--peer", s.address(pair.B),
		"--migrate-uri", s.net.Side(pair.B).URI(coloPort))
	s.sound(pair.B)
}

// check is a side's preflight, with the words that it was started with.
func (p *sides) check(ctx context.Context, id pair.ID) (string, error) {
	side := p.net.Side(id)
	words := []string{"primary", p.volume(id, 0), "--peer", p.address(id.Other()), "--migrate-uri",
		p.net.Side(id.Other()).URI(coloPort)}
	if id == pair.B {
		words = []string{"secondary", p.volume(id, 0), "--listen", p.address(id)}
	}
	words = append(words, "--check", "--socket-path", p.socket(id, 0), "--qmp", side.Sockets().String())
	words = append(append(append([]string{binary(), "pair"}, words...), p.extra...), p.own[id]...)
	words = side.Inside(words...)
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	return string(out), err
}
