//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// TestColoShutdown switches a protected guest off: nobody revives it.
func TestColoShutdown(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	s.must("quit", s.vms[pair.A].VM.QMP("quit", nil, nil))
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
