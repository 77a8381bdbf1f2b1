//go:build e2e

package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// TestColoPacked has a guest with packed rings, whose digest is another one, on volumes with checksums, from
// which the kernel carries what is sent: many checkpoints, and a takeover at which memory and disk agree.
func TestColoPacked(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.packed = true
	for _, id := range []pair.ID{pair.A, pair.B} {
		s.must("remove", os.RemoveAll(s.volume(id, 0)))
		cli(t, "create", s.volume(id, 0), "--size", "256M", "--checksums")
	}
	s.follow(ctx)
	s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 25))
	now := s.status(pair.A).Pair
	t.Logf("%d bytes were carried, %d read; epoch %d", now.Sent.Carried, now.Sent.Read, now.Epoch)
	if now.Sent.Carried == 0 || now.Epoch < 25 {
		t.Errorf("%+v: nothing was carried, or epochs were not made current", now)
	}
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))
	s.vms[pair.A].Kill()
	s.servers[pair.A].Kill()
	s.takeOver(ctx, pair.B)
	s.goesOn(ctx, pair.B)
	s.sound(pair.B)
}
