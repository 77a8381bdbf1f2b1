package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// Revival makes volumes that nobody serves the primary's, because the last primary is gone for good. Memory
// is gone with it, so what is wanted of the disks is what a power cut would have left of the primary's: a
// checkpoint that both sides had. What the secondary's guest wrote behind it was a future that nobody has
// seen, and is dropped. See docs/decisions/014-revival.md.
type Revival struct {
	Stores  []*checkpoint.Store // all disks of the machine, opened for the pair
	Witness witness.Witness     // nil: the operator, who has decided
	// Promise is how long the last promise of this side may bind it still. It is waited for, since nobody
	// remembers when that was given.
	Promise time.Duration
	// Force takes what may be older than what the other side did since, by the operator's word.
	Force bool

	volumes    []*volume
	generation uint64
	at         *mirror.Mark // nil: the disks stay as they are
}

// Revived says what a revival did.
type Revived struct {
	Generation uint64 `json:"generation"`
	// Checkpoint is what the disks show, and At when it was made; empty if they stay as they were.
	Checkpoint string     `json:"checkpoint,omitempty"`
	At         *time.Time `json:"checkpoint_time,omitempty"`
}

// Do does it. If it fails before the witness was won nothing has changed, and afterwards it can be called
// again.
func (r *Revival) Do(ctx context.Context) (Revived, error) {
	for _, s := range r.Stores {
		r.volumes = append(r.volumes, &volume{Store: s})
	}
	serves, err := r.judge()
	if err != nil {
		return Revived{}, err
	}
	if r.Witness == nil {
		manual := witness.NewManual(Self(r.Stores[0]), serves, r.generation)
		manual.Decide()
		r.Witness = manual
	}
	if err := r.askWitness(ctx, serves); err != nil {
		return Revived{}, err
	}
	out := Revived{Generation: r.generation}
	if r.at != nil {
		out.Checkpoint, out.At = r.at.String(), r.made()
	}
	for i, v := range r.volumes {
		v.holdAll()
		if r.at == nil {
			continue
		}
		if err := goBack(v, *r.at); err != nil {
			return Revived{}, fmt.Errorf("disk %d: %w", i, err)
		}
	}
	return out, updateAll(r.volumes, func(s *checkpoint.PairState) {
		s.Role, s.Generation = checkpoint.RolePrimary, r.generation
		s.Syncing, s.Poisoned, s.Why = false, false, ""
	})
}

// judge looks at the volumes by themselves; serves says that they are a primary's already.
func (r *Revival) judge() (serves bool, err error) {
	serves, doubt := true, ""
	for i, v := range r.volumes {
		state, ok := v.Pair()
		first, _ := r.volumes[0].Pair()
		switch {
		case !ok:
			return false, fmt.Errorf("disk %d belongs to no pair", i)
		case state.Pair != first.Pair:
			return false, fmt.Errorf("disk %d belongs to the pair %q, not %q", i, state.Pair, first.Pair)
		case state.Syncing:
			doubt = fmt.Sprintf("disk %d is only in part synchronised", i)
		case state.Poisoned:
			doubt = fmt.Sprintf("disk %d is poisoned (%s)", i, state.Why)
		}
		serves = serves && state.Role == checkpoint.RolePrimary
		r.generation = max(r.generation, state.Generation)
	}
	if serves && doubt == "" {
		return true, nil
	}
	for _, m := range commonMarks(r.volumes) {
		if m.Epoch != mirror.Base || len(r.volumes) == 1 { // bases of several disks are not of one moment
			r.at = &m
			break
		}
	}
	switch {
	case r.at == nil && doubt == "":
		doubt = "it was never synchronised"
		fallthrough
	case r.at == nil:
		return false, errors.New(doubt + ", and there is no whole checkpoint that both sides had")
	case doubt != "" && !r.Force:
		return false, fmt.Errorf("%s: %s; --force starts from there", doubt, r.loses())
	}
	return false, nil
}

// loses says what is given up with a start from the checkpoint.
func (r *Revival) loses() string {
	if r.at == nil {
		return "what it did is lost with a start from here"
	}
	return fmt.Sprintf("its newest whole checkpoint is %v, of %s, and whatever the other side did since is "+
		"lost with a start from it", r.at, r.made().Local().Format("2006-01-02 15:04:05"))
}

// made is when the checkpoint was put.
func (r *Revival) made() *time.Time {
	id, _ := r.volumes[0].find(*r.at)
	p, _ := r.volumes[0].point(id)
	return &p.Time
}

// askWitness wins a generation, so that whoever else knows of the pair may not serve from now on.
func (r *Revival) askWitness(ctx context.Context, serves bool) error {
	state, err := r.Witness.State(ctx)
	_, operated := r.Witness.(*witness.Manual)
	switch {
	case errors.Is(err, witness.ErrUnknownPair) && !serves && r.Force:
		r.generation++
		return r.Witness.Register(ctx, r.generation)
	case errors.Is(err, witness.ErrUnknownPair) && !serves:
		return fmt.Errorf("%w: it is another pair's, or has forgotten; --force makes it known", err)
	case err != nil && !serves:
		return err
	case state.Generation < r.generation && err == nil:
		return fmt.Errorf("the witness knows of generation %d, the volume of %d: it has forgotten",
			state.Generation, r.generation)
	case serves && (err != nil || state.Generation == r.generation) && !(operated && r.Force):
		return errors.New("it is the primary's already: 'belay pair primary' starts it")
	case state.Generation > r.generation && !r.won(state) && !r.Force:
		return fmt.Errorf("%w: %d, and this side knows %d: the other side has served alone since; %s; "+
			"--force does it", witness.ErrSuperseded, state.Generation, r.generation, r.loses())
	}
	select {
	case <-time.After(r.Promise):
	case <-ctx.Done():
		return ctx.Err()
	}
	from := state.Generation
	if r.won(state) {
		from = r.generation
	}
	if _, err := r.Witness.Win(ctx, from); err != nil {
		return fmt.Errorf("the witness: %w", err)
	}
	r.generation = wonFrom(ctx, r.Witness, from)
	return nil
}

// won says that an earlier attempt has got as far as the witness.
func (r *Revival) won(state witness.State) bool {
	return state.Generation == r.generation+1 && state.Winner == Self(r.Stores[0])
}
