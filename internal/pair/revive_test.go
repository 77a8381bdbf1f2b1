package pair

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// opened opens a stopped volume for what a test does with it.
func opened(t *testing.T, dir string, work func(*checkpoint.Store)) {
	t.Helper()
	s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
	must(t, err)
	work(s)
	must(t, s.Close())
}

// revive revives a stopped volume.
func revive(t *testing.T, dir string, w witness.Witness, force bool) (done Revived, err error) {
	t.Helper()
	opened(t, dir, func(s *checkpoint.Store) {
		r := Revival{Stores: []*checkpoint.Store{s}, Witness: w, Force: force}
		done, err = r.Do(context.Background())
	})
	return done, err
}

// lose ends both sides' processes, and leaves the secondary's volume as a power cut would: it could not say
// that it is poisoned.
func (d *duo) lose() {
	d.t.Helper()
	must(d.t, d.s.volume.Sync())
	d.s.close()
	d.p.close()
	opened(d.t, d.dirs[1], func(s *checkpoint.Store) {
		must(d.t, (&volume{Store: s}).update(func(s *checkpoint.PairState) { s.Poisoned, s.Why = false, "" }))
	})
}

// TestRevive loses both sides, and the primary for good: the secondary's volume shows what the primary's disk
// was at the newest checkpoint, whatever the secondary's guest wrote since, and a primary serves it.
func TestRevive(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.checkpoint()
	d.some()
	d.s.machine.guest.quiet()
	epoch := d.s.pair.Status().Epoch
	at := mirror.Mark{Generation: d.p.pair.Status().Generation, Epoch: epoch}
	want := d.s.at(at)
	if bytes.Equal(want, content(t, d.s.volume)) {
		t.Fatal("the secondary's guest wrote nothing")
	}
	d.lose()
	dir := d.dirs[1]

	opened(t, dir, func(s *checkpoint.Store) {
		if st := Stopped(s); st.State != pairview.Stopped || st.Role != "secondary" || st.Common != at.String() {
			t.Errorf("stopped: %+v", st)
		}
		cfg := Config{Name: "test", Stores: []*checkpoint.Store{s}, Witness: witness.NewManual("x", true, 1)}
		if _, err := NewPrimary(cfg); err == nil {
			t.Error("a secondary's volume serves without a word")
		}
	})
	done, err := revive(t, dir, nil, false)
	if err != nil || done.Checkpoint != at.String() || done.Generation <= at.Generation {
		t.Fatalf("revived: %+v, %v", done, err)
	}
	opened(t, dir, func(s *checkpoint.Store) {
		if !bytes.Equal(content(t, &volume{Store: s}), want) {
			t.Error("the disk is not the primary's at the checkpoint")
		}
		st := Stopped(s)
		if st.State != pairview.Stopped || st.Role != "primary" || st.Generation != done.Generation {
			t.Errorf("revived: %+v", st)
		}
	})
	_, err = revive(t, dir, nil, false)
	if err == nil || !strings.Contains(err.Error(), "'belay pair primary'") {
		t.Errorf("a primary's volume: %v", err)
	}
}

// TestRevivePoisoned takes a poisoned volume back to its checkpoint only if that is asked for, and says when
// that was.
func TestRevivePoisoned(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.checkpoint()
	d.s.machine.kill()
	<-d.s.ended
	store := d.s.volume.Store
	st := Stopped(store)
	if st.State != pairview.Poisoned || st.Problem == "" {
		t.Fatalf("stopped: %+v", st)
	}
	r := Revival{Stores: []*checkpoint.Store{store}}
	_, err := r.Do(context.Background())
	if err == nil || !strings.Contains(err.Error(), "--force") || !strings.Contains(err.Error(), st.Common) {
		t.Fatalf("without force: %v", err)
	}
	if now := Stopped(store); now.State != st.State || now.Generation != st.Generation {
		t.Errorf("a refusal changed it to %+v", now)
	}
	r = Revival{Stores: []*checkpoint.Store{store}, Force: true}
	done, err := r.Do(context.Background())
	if err != nil || done.Checkpoint != st.Common {
		t.Fatalf("with force: %+v, %v", done, err)
	}
	if now := Stopped(store); now.State != pairview.Stopped || now.Role != "primary" {
		t.Errorf("revived: %+v", now)
	}
}

// TestReviveWithWitness wins the next generation, once, and loses to a primary that went on alone.
func TestReviveWithWitness(t *testing.T) {
	now, ctx := mirror.BootClock, context.Background()
	for _, row := range []struct {
		name  string
		known bool // the witness knows the pair
		gone  bool // the primary went on alone
		away  bool // the witness does not answer
		force bool
		won   uint64 // generation; 0: refused
		fails error
	}{
		{name: "primary died last", known: true, won: 2},
		{name: "primary went on", known: true, gone: true, fails: witness.ErrSuperseded},
		{name: "primary went on, forced", known: true, gone: true, force: true, won: 3},
		{name: "forgotten", fails: witness.ErrUnknownPair},
		{name: "forgotten, forced", force: true, won: 2},
		{name: "away", known: true, away: true, force: true, fails: witness.ErrUnreachable},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := secondaryVolume(t)
			w := witness.NewMemory(now, 0)
			p := w.For("primary", nil)
			if row.known {
				must(t, p.Register(ctx, 1))
			}
			if row.gone {
				must(t, p.Claim(ctx, 1))
			}
			for range 2 { // the second one finds it done
				opened(t, dir, func(s *checkpoint.Store) {
					r := Revival{Stores: []*checkpoint.Store{s}, Force: row.force,
						Witness: w.For(Self(s), func() bool { return !row.away })}
					done, err := r.Do(ctx)
					state, _ := s.Pair()
					served := state.Role == checkpoint.RolePrimary
					switch {
					case row.won == 0 && (!errors.Is(err, row.fails) || served || state.Generation != 1):
						t.Errorf("%v, and the volume says %+v", err, state)
					case row.won != 0 && (!served || state.Generation != row.won):
						t.Errorf("%+v, %v, and the volume says %+v", done, err, state)
					}
				})
			}
		})
	}
}

// secondaryVolume is a volume that was synchronised and loaded.
func secondaryVolume(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vol")
	must(t, checkpoint.Create(dir, checkpoint.CreateOptions{Size: testSize}))
	opened(t, dir, func(s *checkpoint.Store) {
		v := &volume{Store: s}
		_, err := putPoint(v, markName(mirror.Mark{Generation: 1, Epoch: 3}, 0))
		must(t, err)
		must(t, v.update(func(s *checkpoint.PairState) {
			s.Pair, s.Role, s.Generation = "test", checkpoint.RoleSecondary, 1
		}))
	})
	return dir
}

// TestReviveNothing refuses what has no whole state, forced or not.
func TestReviveNothing(t *testing.T) {
	for name, change := range map[string]func(*checkpoint.PairState){
		"never synchronised": func(*checkpoint.PairState) {},
		"in part":            func(s *checkpoint.PairState) { s.Syncing = true },
	} {
		dir := filepath.Join(t.TempDir(), "vol")
		must(t, checkpoint.Create(dir, checkpoint.CreateOptions{Size: testSize}))
		opened(t, dir, func(s *checkpoint.Store) {
			v := &volume{Store: s}
			must(t, v.update(func(s *checkpoint.PairState) {
				s.Pair, s.Role, s.Generation = "test", checkpoint.RoleSecondary, 1
				change(s)
			}))
		})
		for _, force := range []bool{false, true} {
			if _, err := revive(t, dir, nil, force); err == nil || strings.Contains(err.Error(), "--force") {
				t.Errorf("%s, forced %v: %v", name, force, err)
			}
		}
	}
}

// TestReviveSeveral goes back to what all disks have, and not to ends of synchronisations.
func TestReviveSeveral(t *testing.T) {
	points := [][]mirror.Mark{
		{{Generation: 1, Epoch: mirror.Base}, {Generation: 1, Epoch: 4}, {Generation: 1, Epoch: 5}},
		{{Generation: 1, Epoch: mirror.Base}, {Generation: 1, Epoch: 4}},
	}
	for shared, want := range map[int]string{2: "1/4", 1: ""} {
		r := Revival{}
		for _, marks := range points {
			v := newVolume(t)
			v.hold(1)
			for i, m := range marks {
				if i < shared || i == 2 {
					_, err := putPoint(v, markName(m, 0))
					must(t, err)
				}
			}
			must(t, v.update(func(s *checkpoint.PairState) {
				s.Pair, s.Role, s.Generation = "test", checkpoint.RoleSecondary, 1
			}))
			r.Stores = append(r.Stores, v.Store)
		}
		done, err := r.Do(context.Background())
		if done.Checkpoint != want || (err == nil) != (want != "") {
			t.Errorf("%d common: %+v, %v; want %q", shared, done, err, want)
		}
	}
}
