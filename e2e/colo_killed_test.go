//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// gone waits until a side's QEMU has ended.
func (p *sides) gone(ctx context.Context, id pair.ID) {
	p.t.Helper()
	select {
	case <-p.vms[id].Done():
	case <-ctx.Done():
		p.t.Fatalf("the QEMU of %v lives", id)
	}
}

// lives says that a side's QEMU was left alone.
func (p *sides) lives(id pair.ID) {
	p.t.Helper()
	select {
	case <-p.vms[id].Done():
		p.t.Fatalf("the QEMU of %v has ended", id)
	default:
	}
}

// TestColoPrimaryBelayKilled kills the belay of a protected primary, and nothing else: its QEMU is ended,
// and the other side takes over when its promise has run out.
func TestColoPrimaryBelayKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.extra = append(s.extra, "--peer-timeout", "2s") // the machine may be busy with other tests
	s.follow(ctx)
	killed := time.Now()
	s.servers[pair.A].Kill()
	s.gone(ctx, pair.A)
	t.Logf("QEMU ended after %v", time.Since(killed))
	if state := s.status(pair.B).Pair.State; state == "alone" {
		t.Error("the other side serves before the old QEMU has ended")
	}
	s.await(ctx, pair.B, "alone")
	t.Logf("failover: %v", time.Since(killed))
	s.goesOn(ctx, pair.B)
	s.refused(ctx, pair.A, "another generation was won")
	s.sound(pair.B)
}

// syncing is what a primary says at the beginning of a synchronisation.
var syncing = regexp.MustCompile(`synchronising: disk=0 bytes=(\d+) from=(\S+)`)

// TestColoSecondaryBelayKilled kills the belay of a secondary, and nothing else: its QEMU is ended, the
// primary goes on alone, and what is left may not serve before it was brought up to date, with what changed.
func TestColoSecondaryBelayKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.follow(ctx)
	killed := time.Now()
	s.servers[pair.B].Kill()
	s.gone(ctx, pair.B)
	t.Logf("QEMU ended after %v", time.Since(killed))
	s.await(ctx, pair.A, "alone")
	s.goesOn(ctx, pair.A)

	s.refused(ctx, pair.B, "was the secondary's")
	s.secondary(pair.B)
	_, _ = tryCLI("failover", s.volume(pair.B, 0)) // whatever it says
	if state := s.status(pair.B).Pair.State; state != "waiting" {
		t.Errorf("a secondary whose belay was killed is %s when it is told to take over", state)
	}
	s.protect(ctx, pair.A)
	s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 6))
	all := syncing.FindAllStringSubmatch(s.servers[pair.A].Log(), -1)
	if len(all) < 2 {
		t.Fatal("the primary's log does not tell of two synchronisations")
	}
	again := all[len(all)-1]
	if bytes, err := strconv.Atoi(again[1]); err != nil || bytes > 64<<20 || again[2] == "0/0" {
		t.Errorf("%s bytes were to be sent again, from %s", again[1], again[2])
	}
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))

	s.servers[pair.A].Kill()
	s.gone(ctx, pair.A)
	s.takeOver(ctx, pair.B)
	s.goesOn(ctx, pair.B)
	s.sound(pair.B)
}

// TestColoSurvivorBelayKilled kills the belay of a side that is alone after a takeover: nobody else has its
// guest, so that is left alone, and goes on with the next belay.
func TestColoSurvivorBelayKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.extra = append(s.extra, "--peer-timeout", "2s") // the machine may be busy with other tests
	s.follow(ctx)
	s.servers[pair.A].Kill()
	s.gone(ctx, pair.A)
	s.await(ctx, pair.B, "alone")
	s.goesOn(ctx, pair.B)

	s.servers[pair.B].Kill()
	s.serve(pair.B, "primary")
	s.await(ctx, pair.B, "alone")
	s.goesOn(ctx, pair.B)
	s.lives(pair.B)

	s.movesBack(ctx)
}

// movesBack has A follow B, which is alone, and take over when B's belay is killed.
func (p *sides) movesBack(ctx context.Context) {
	p.t.Helper()
	p.reprotect(ctx, pair.B)
	p.must("checkpoints", p.vms[pair.B].Checkpoints(ctx, 6))
	p.servers[pair.B].Kill()
	p.gone(ctx, pair.B)
	p.await(ctx, pair.A, "alone")
	p.goesOn(ctx, pair.A)
	p.sound(pair.A)
}
