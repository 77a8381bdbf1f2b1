package witness

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Manual is a pair without a third vote. The primary keeps serving, with the secondary or alone;
// the secondary takes over when the operator says so, and never otherwise. Who says so answers for
// the primary being dead.
//
// If he was wrong both serve, and nobody keeps them from winning generations of their own. So that these
// are never the same, and a later comparison of both histories finds nothing in common that is not, a
// primary that goes on alone goes two on, and a takeover three: from then on one side has the odd
// generations and the other one the even, and who took over last by the operator's word is ahead.
type Manual struct {
	primary bool

	mu      sync.Mutex
	state   State
	decided bool
	self    string
	won     bool   // a generation
	from    uint64 // and what it was won from
}

// NewManual is for a side that knows of a generation, and serves or does not.
func NewManual(self string, serves bool, generation uint64) *Manual {
	m := &Manual{primary: serves, self: self, state: State{Generation: generation}}
	if serves {
		m.state.Winner = self
	}
	return m
}

// Decide is the operator's word that this side takes over; the next Win succeeds.
func (m *Manual) Decide() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decided = true
}

// State is what this side knows by itself.
func (m *Manual) State(context.Context) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

// Register takes this side's generation.
func (m *Manual) Register(_ context.Context, generation uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation < m.state.Generation {
		return fmt.Errorf("%w: %d, not %d", ErrSuperseded, m.state.Generation, generation)
	}
	m.state.Generation = generation
	return nil
}

// Claim is Win.
func (m *Manual) Claim(ctx context.Context, from uint64) error {
	_, err := m.Win(ctx, from)
	return err
}

// Win succeeds on the side that serves, and on the other one after Decide.
func (m *Manual) Win(_ context.Context, from uint64) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.primary && m.won && m.from == from {
		return Forever, nil // once more
	}
	if from != m.state.Generation {
		return 0, fmt.Errorf("%w: %d, not %d", ErrSuperseded, m.state.Generation, from)
	}
	next := from + 2
	switch {
	case !m.primary && !m.decided:
		return 0, ErrUndecided
	case !m.primary:
		next = from + 3
	}
	m.primary, m.decided = true, false
	m.won, m.from = true, from
	m.state = State{Generation: next, Winner: m.self, Holder: m.self}
	return Forever, nil
}

// Hold succeeds on the side that serves.
func (m *Manual) Hold(_ context.Context, generation uint64) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.primary {
		return 0, ErrUndecided
	}
	if err := judge(m.state, m.self, generation); err != nil {
		return 0, err
	}
	m.state.Holder = m.self
	return Forever, nil
}

// Follow says that the partner serves in a generation, as its messages tell: only the operator makes
// this side serve again.
func (m *Manual) Follow(generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.primary, m.decided, m.won = false, false, false
	m.state = State{Generation: generation}
}

// Resign does nothing: the partner does not ask here.
func (m *Manual) Resign(context.Context) error { return nil }

// Close does nothing.
func (m *Manual) Close() error { return nil }
