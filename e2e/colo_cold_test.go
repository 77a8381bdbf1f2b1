//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// atWork follows, has the guest keep a file for later, and lets some checkpoints go by.
func (p *sides) atWork(ctx context.Context) {
	p.t.Helper()
	p.follow(ctx)
	a := p.vms[pair.A]
	shell(p.t, a, "cd /mnt; head -c 3000000 /dev/urandom >before; sha256sum before >sums; sync")
	p.must("checkpoints", a.Checkpoints(ctx, 6))
	p.await(ctx, pair.A, "protected")
}

// bothDie kills all that runs on both sides.
func (p *sides) bothDie() {
	for id := range p.servers {
		p.servers[id].Kill()
		p.vms[id].Kill()
	}
}

// boots starts a guest on a side's disk as it is, and finds what was kept.
func (p *sides) boots(ctx context.Context, id pair.ID) {
	p.t.Helper()
	p.boot(ctx, id, "")
	p.resumes(id)
	p.goesOn(ctx, id)
	p.await(ctx, id, "alone")
}

// TestColoColdPrimary has both hosts die: the primary's disk has all that was synced, and starts again, and
// is protected by the other side as before.
func TestColoColdPrimary(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.atWork(ctx)
	shell(t, s.vms[pair.A], "cd /mnt; head -c 3000000 /dev/urandom >last; sha256sum last >>sums; sync")
	s.bothDie()
	s.refused(ctx, pair.B, "was the secondary's")
	s.refused(ctx, pair.A, "--peer says where to ask it")
	s.serve(pair.A, "primary", "--alone")
	s.boots(ctx, pair.A)
	s.reprotect(ctx, pair.A)
	s.diesProtected(ctx)
}

// TestColoColdSecondary has both hosts die, and the primary's for good: the other side's disk goes back to
// its newest checkpoint, and a guest boots from it. The old primary, back after all, may only follow.
func TestColoColdSecondary(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.atWork(ctx)
	s.bothDie()
	s.refused(ctx, pair.B, "was the secondary's")
	t.Log(cli(t, append([]string{"failover", s.volume(pair.B, 0)}, s.own[pair.B]...)...))
	s.serve(pair.B, "primary")
	s.boots(ctx, pair.B)

	s.refused(ctx, pair.A, "another generation was won")
	s.movesBack(ctx)
}
