//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// TestColoShutdown switches a protected guest off, from inside and by QEMU's monitor: nobody revives it.
func TestColoShutdown(t *testing.T) {
	for how, off := range map[string]func(context.Context, *sides) error{
		"quit": func(_ context.Context, s *sides) error { return s.vms[pair.A].VM.QMP("quit", nil, nil) },
		"poweroff": func(ctx context.Context, s *sides) error {
			s.must("ledger", s.vms[pair.A].StopLedger(ctx))
			return s.vms[pair.A].PowerOff()
		},
	} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			s := newEtcdSides(t)
			s.follow(ctx)
			s.must(how, off(ctx, s))
			for what, gone := range map[string]<-chan struct{}{
				"the primary's QEMU": s.vms[pair.A].Done(), "the secondary's QEMU": s.vms[pair.B].Done(),
				"the secondary's belay": s.servers[pair.B].Exited(),
			} {
				select {
				case <-gone:
				case <-ctx.Done():
					t.Errorf("%s lives", what)
				}
			}
			s.await(ctx, pair.A, "alone") // for the next QEMU
		})
	}
}

// TestColoSecondaryQuits ends the secondary's QEMU by its monitor: the primary goes on alone.
func TestColoSecondaryQuits(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	_ = s.vms[pair.B].VM.QMP("quit", nil, nil) // its belay may end it before it answers
	s.await(ctx, pair.A, "alone")
	s.goesOn(ctx, pair.A)
}

// TestColoPrimaryBelayEnds ends the primary's belay, in order or not: the secondary takes over, and the
// old QEMU is not left running where its belay could end it.
func TestColoPrimaryBelayEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	began := time.Now()
	_ = s.servers[pair.A].Stop() // its exit code says that it serves no more
	s.await(ctx, pair.B, "alone")
	t.Logf("hand-over: %v", time.Since(began))
	select {
	case <-s.vms[pair.A].Done():
	default:
		t.Error("the old QEMU lives")
	}
	s.goesOn(ctx, pair.B)
}
