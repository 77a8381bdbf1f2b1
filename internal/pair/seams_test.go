package pair

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// TestMailbox keeps the order of what is put, wakes once for all of it, and takes nothing when closed.
func TestMailbox(t *testing.T) {
	m := newMailbox()
	var done []int
	for i := range 3 {
		m.put(func() { done = append(done, i) })
	}
	<-m.wake
	select {
	case <-m.wake:
		t.Error("it wakes twice")
	default:
	}
	for _, do := range m.take() {
		do()
	}
	if len(done) != 3 || done[0] != 0 || done[2] != 2 || m.take() != nil {
		t.Errorf("done %v", done)
	}
	m.put(func() {})
	m.close()
	m.put(func() {})
	if m.take() != nil {
		t.Error("it takes in what comes after its end")
	}
}

// idle is a side that does not run.
func idle(t *testing.T, w witness.Witness, primary bool) *Pair {
	t.Helper()
	v := newVolume(t)
	make := NewSecondary
	if primary {
		make = NewPrimary
	}
	p, err := make(Config{Name: "test", Stores: []*checkpoint.Store{v.Store}, Witness: w,
		Times: TimesFor(time.Second), Log: hclog.NewNullLogger()})
	must(t, err)
	return p
}

// TestClaim wins what the witness gives, and has it durable then.
func TestClaim(t *testing.T) {
	ctx, reachable := context.Background(), true
	m := witness.NewMemory(mirror.BootClock, limit)
	p := idle(t, m.For("p", func() bool { return reachable }), true)
	s := idle(t, m.For("s", nil), false)
	if won, _, err := s.claim(ctx, colo.ClaimTakeOver, 1); won || !errors.Is(err, witness.ErrUnknownPair) {
		t.Errorf("a pair that nobody registered: %v, %v", won, err)
	}
	if won, _, err := p.claim(ctx, colo.ClaimPair, 1); !won || err != nil {
		t.Fatalf("to register: %v, %v", won, err)
	}
	reachable = false
	if won, _, err := p.claim(ctx, colo.ClaimAlone, 1); won || !errors.Is(err, witness.ErrUnreachable) {
		t.Errorf("a witness that is not there: %v, %v", won, err)
	}
	reachable = true
	if won, _, err := s.claim(ctx, colo.ClaimTakeOver, 1); !won || err != nil {
		t.Fatalf("to take over: %v, %v", won, err)
	}
	state, _ := s.volumes[0].Pair()
	if state.Generation != 2 || state.Role != checkpoint.RolePrimary || state.Pair != "test" {
		t.Errorf("the winner's volume says %+v", state)
	}
	for _, c := range []colo.Claim{colo.ClaimAlone, colo.ClaimPair} {
		if won, _, err := p.claim(ctx, c, 1); won || err != nil {
			t.Errorf("claim %v of the loser: %v, %v", claimName(c), won, err)
		}
	}
	if state, _ := p.volumes[0].Pair(); state.Generation > 1 {
		t.Errorf("the loser's volume says %+v", state)
	}
	if won, _, err := s.claim(ctx, colo.ClaimTakeOver, 1); !won || err != nil {
		t.Errorf("once more by the winner: %v, %v", won, err)
	}
}

// TestMayBegin holds a volume to what it was.
func TestMayBegin(t *testing.T) {
	tests := []struct {
		name      string
		state     checkpoint.PairState
		primary   bool
		secondary bool
	}{
		{"another pair", checkpoint.PairState{Pair: "other", Role: checkpoint.RolePrimary}, false, false},
		{"its own", checkpoint.PairState{Pair: "test", Role: checkpoint.RolePrimary}, true, true},
		{"poisoned", checkpoint.PairState{Pair: "test", Role: checkpoint.RoleSecondary, Poisoned: true, Why: "so"},
			false, true},
		{"in part", checkpoint.PairState{Pair: "test", Role: checkpoint.RoleSecondary, Syncing: true}, false, true},
		{"the other role", checkpoint.PairState{Pair: "test", Role: checkpoint.RoleSecondary}, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVolume(t)
			test.state.Generation = 3
			must(t, v.SetPair(test.state))
			cfg := Config{Name: "test", Stores: []*checkpoint.Store{v.Store}, Log: hclog.NewNullLogger()}
			if _, err := NewPrimary(cfg); (err == nil) != test.primary {
				t.Errorf("as the primary: %v", err)
			}
			if _, err := NewSecondary(cfg); (err == nil) != test.secondary {
				t.Errorf("as the secondary: %v", err)
			}
		})
	}
}

// TestDigestsOverTheWire come back as they went.
func TestDigestsOverTheWire(t *testing.T) {
	d := colo.Digests{{Disk: 1, Queue: 3}: 1<<64 - 1, {Disk: 0, Queue: 0}: 7}
	got := digestsOf(ringDigests(d))
	if len(got) != len(d) {
		t.Fatalf("got %v", got)
	}
	for r, digest := range d {
		if got[r] != digest {
			t.Errorf("%v: %v, not %v", r, got[r], digest)
		}
	}
}

// TestSinkRefuses what it has no ground for.
func TestSinkRefuses(t *testing.T) {
	k := newSink([]*volume{newVolume(t)}, func(mirror.SyncPlan) error { return nil })
	must(t, k.Seal(0))
	if err := k.load(0); !errors.Is(err, errNoBase) {
		t.Errorf("a load without a synchronisation: %v", err)
	}
	k.drop()
	refuses := errors.New("not durable")
	k = newSink(k.disks, func(mirror.SyncPlan) error { return refuses })
	if _, err := k.SyncBegin(mirror.SyncPlan{Size: testSize}); !errors.Is(err, refuses) {
		t.Errorf("a synchronisation that is not noted: %v", err)
	}
	k = newSink(k.disks, func(mirror.SyncPlan) error { return nil })
	plan := mirror.SyncPlan{Run: mirror.ID{1}, Size: testSize, From: mirror.Mark{Generation: 4, Epoch: 4}}
	if _, err := k.SyncBegin(plan); !errors.Is(err, mirror.ErrUnknownMark) {
		t.Errorf("from a mark that is not there: %v", err)
	}
}
