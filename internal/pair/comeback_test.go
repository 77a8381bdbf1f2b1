package pair

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// killed is a protected pair whose primary has died, and the witness of both. Neither has reached it since;
// the secondary does when it is let.
func killed(t *testing.T) (d *duo, w *witness.Memory, let func()) {
	t.Helper()
	var there, here atomic.Bool
	there.Store(true)
	here.Store(true)
	w = witness.NewMemory(mirror.BootClock, limit)
	d = newDuoWith(t, w.For("a", there.Load), w.For("b", here.Load))
	d.checkpoint()
	there.Store(false)
	here.Store(false)
	d.die()
	d.s.await("orphaned")
	return d, w, func() { here.Store(true) }
}

// comeBack starts the primary of a volume again, as far as that it may serve, and returns the generation that
// it is in then. Others have so long to take over.
func comeBack(t *testing.T, dir string, w witness.Witness, wait time.Duration) (uint64, error) {
	t.Helper()
	s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	p, err := NewPrimary(Config{
		Name: "test", Stores: []*checkpoint.Store{s}, Witness: w, Log: hclog.NewNullLogger(),
		Times: Times{Promise: wait, Silence: wait, Again: time.Millisecond},
	})
	must(t, err)
	err = p.ComeBack(context.Background())
	state, _ := s.Pair()
	return state.Generation, err
}

// TestComeBack starts a primary again whose partner does not take over in time: it cannot do so any more.
func TestComeBack(t *testing.T) {
	d, w, let := killed(t)
	generation, err := comeBack(t, d.dirs[0], w.For("a", nil), time.Millisecond)
	if err != nil || generation != 2 {
		t.Fatalf("it is in generation %d: %v", generation, err)
	}
	let()
	d.s.await("poisoned")
	// Alone in its generation it waits for nobody.
	if again, err := comeBack(t, d.dirs[0], w.For("a", nil), limit); err != nil || again != generation {
		t.Errorf("it was in generation %d and is in %d: %v", generation, again, err)
	}
}

// TestComeBackTooEarly starts a primary again whose partner is about to take over, which is left to do so.
func TestComeBackTooEarly(t *testing.T) {
	d, w, let := killed(t)
	result := make(chan error, 1)
	go func() {
		_, err := comeBack(t, d.dirs[0], w.For("a", nil), limit)
		result <- err
	}()
	let()
	d.s.await("alone")
	if err := <-result; !errors.Is(err, witness.ErrSuperseded) {
		t.Errorf("got %v", err)
	}
	d.s.check("taken over")
}

// TestComeBackAlone starts a primary that never had a partner, and one whose witness is the operator.
func TestComeBackAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vol")
	must(t, checkpoint.Create(dir, checkpoint.CreateOptions{Size: testSize}))
	w := witness.NewMemory(mirror.BootClock, limit)
	if _, err := comeBack(t, dir, w.For("a", nil), limit); err != nil {
		t.Error(err)
	}
	d, _, _ := killed(t)
	if _, err := comeBack(t, d.dirs[0], witness.NewManual("a", true, 1), limit); err != nil {
		t.Error(err)
	}
}
