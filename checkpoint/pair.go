package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// Role is the side of a pair that a volume is on.
type Role uint32

// The sides of a pair.
const (
	RolePrimary Role = iota + 1
	RoleSecondary
)

func (r Role) String() string {
	switch r {
	case RolePrimary:
		return "primary"
	case RoleSecondary:
		return "secondary"
	}
	return fmt.Sprint("role ", uint32(r))
}

// PairState is what a volume knows durably of the pair that it belongs to. Whoever runs the pair
// changes it; the store keeps it, and keeps others from serving the volume meanwhile.
type PairState struct {
	Pair       string // its name, 1 to 128 bytes
	Role       Role
	Generation uint64    // fencing: it never goes down
	Syncing    bool      // the disk is between two states: it must not be served
	Poisoned   bool      // the disk may not be the one that its guest's memory expects: likewise
	Why        string    // of that, for people; at most 256 bytes
	Common     uint32    // the newest point that both sides have for good; 0: none
	Epoch      uint64    // of the pair, at that point
	Peer       [16]byte  // id of the volume on the other side
	Changed    time.Time // when; set by SetPair
}

// Errors of pairs.
var (
	// ErrPaired marks a volume that belongs to a pair and was opened as if it did not.
	ErrPaired = errors.New("the volume belongs to a pair")
	// ErrGeneration marks a change by somebody whose time is over.
	ErrGeneration = errors.New("older generation")
)

// pairKeeper is a volume's pair file.
type pairKeeper struct {
	mu  sync.Mutex
	f   File        // nil: it is not open
	now *pairRecord // nil: the volume belongs to no pair
}

// ID returns the id of the volume.
func (s *Store) ID() [16]byte { return s.super.id }

// Pair returns what is known of the volume's pair; false if it belongs to none.
func (s *Store) Pair() (PairState, bool) {
	s.pair.mu.Lock()
	defer s.pair.mu.Unlock()
	if s.pair.now == nil {
		return PairState{}, false
	}
	return s.pair.now.PairState, true
}

// SetPair changes it. When it returns the change is durable. After ErrPoisoned, which stops the
// store, it may be there or not; after another error it is not. ErrGeneration if the generation is
// lower than the one known.
func (s *Store) SetPair(state PairState) error {
	s.pair.mu.Lock()
	defer s.pair.mu.Unlock()
	if err := s.poisoned(); err != nil {
		return err
	}
	next := pairRecord{id: s.super.id, PairState: state}
	next.Changed = time.Now().UTC()
	if now := s.pair.now; now != nil {
		next.sequence = now.sequence
		if state.Generation < now.Generation {
			return fmt.Errorf("%w: %d, the volume knows %d", ErrGeneration, state.Generation, now.Generation)
		}
	}
	if err := state.validate(); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("pair: %w", fs.ErrPermission)
	}
	if err := s.pair.make(s.fs); err != nil {
		return fmt.Errorf("pair: %w", err)
	}
	if err := s.pair.write(s.fs, &next); err != nil {
		return s.poison(fmt.Errorf("pair: %w", err))
	}
	s.pair.now = &next
	return nil
}

// validate judges what the record has no room for.
func (p *PairState) validate() error {
	switch {
	case p.Pair == "" || len(p.Pair) > maxPairName:
		return fmt.Errorf("name of a pair of %d bytes: must be 1 to %d", len(p.Pair), maxPairName)
	case len(p.Why) > maxPairWhy:
		return fmt.Errorf("reason of %d bytes: at most %d", len(p.Why), maxPairWhy)
	case p.Role != RolePrimary && p.Role != RoleSecondary:
		return fmt.Errorf("%v: must be primary or secondary", p.Role)
	case p.Common > maxEpoch:
		return fmt.Errorf("common checkpoint %d: %w", p.Common, ErrTooMany)
	}
	return nil
}

// write writes both copies, the older one first, each durable before the other, so that damage to
// one of them later does not bring an old state back.
func (k *pairKeeper) write(on FS, r *pairRecord) error {
	for range 2 {
		r.sequence++
		if _, err := k.f.WriteAt(encodePair(r), pairOffset(r.sequence)); err != nil {
			return err
		}
		if err := k.f.Sync(); err != nil {
			return err
		}
	}
	if k.now == nil {
		return on.SyncDir() // the name is new
	}
	return nil
}

// make makes the file, if there is none.
func (k *pairKeeper) make(on FS) error {
	if k.f != nil {
		return nil
	}
	f, err := on.Create(pairName)
	if errors.Is(err, fs.ErrExist) { // nothing was written to it
		f, err = on.Open(pairName, 0)
	}
	if err == nil {
		k.f = f
	}
	return err
}

// Unpair forgets the pair, durably: the volume stands alone.
func (s *Store) Unpair() error {
	s.pair.mu.Lock()
	defer s.pair.mu.Unlock()
	if err := s.poisoned(); err != nil {
		return err
	}
	if s.pair.now == nil {
		return nil
	}
	err := errors.Join(s.pair.close(), s.fs.Remove(pairName), s.fs.SyncDir())
	if err != nil {
		return s.poison(fmt.Errorf("pair: %w", err))
	}
	s.pair.now = nil
	return nil
}

// openPair reads the pair file, if there is one, and refuses who is not the pair. The volume is
// locked.
func (s *Store) openPair() error {
	there, err := s.fs.Exists(pairName)
	if err != nil || !there {
		return err
	}
	mode := Mode(0)
	if s.opts.ReadOnly {
		mode = ReadOnly
	}
	if s.pair.f, err = s.fs.Open(pairName, mode); err != nil {
		return err
	}
	now, err := readPair(s.pair.f)
	if err == nil && now != nil && now.id != s.super.id {
		err = corrupt(pairName, pairOffset(now.sequence)+prID, "volume", fmt.Sprintf("%x", now.id),
			fmt.Sprintf("%x", s.super.id))
	}
	if err != nil && (s.opts.ReadOnly || s.opts.Force) {
		s.log.Warn("what is known of the volume's pair cannot be read", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.pair.now = now
	if now == nil || s.opts.ReadOnly || s.opts.Pair || s.opts.Force {
		return nil
	}
	return now.refusal()
}

// refusal says why the volume is not for others.
func (p *PairState) refusal() error {
	text := fmt.Sprintf("it is the %v of %q", p.Role, p.Pair)
	switch {
	case p.Poisoned:
		text += ", and poisoned"
	case p.Syncing:
		text += ", and only in part synchronised"
	}
	if p.Why != "" {
		text += " (" + p.Why + ")"
	}
	return fmt.Errorf("%w: %s; --force opens it all the same", ErrPaired, text)
}

func (k *pairKeeper) close() error {
	if k.f == nil {
		return nil
	}
	f := k.f
	k.f = nil
	return f.Close()
}
