package witness

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Memory is a witness in this process, for tests and simulations: its clock is the caller's, and
// nothing happens by itself. Partners get a view each by For.
type Memory struct {
	clock func() time.Duration
	ttl   time.Duration

	mu    sync.Mutex
	known bool
	state State
	until time.Duration
}

// NewMemory returns a witness that knows no pair yet.
func NewMemory(clock func() time.Duration, ttl time.Duration) *Memory {
	return &Memory{clock: clock, ttl: ttl}
}

// For is the witness as a partner sees it. If reachable, which may be nil, returns false, it does not
// answer.
func (m *Memory) For(self string, reachable func() bool) Witness {
	return &memoryView{m, self, reachable}
}

type memoryView struct {
	m         *Memory
	self      string
	reachable func() bool
}

// now returns the state with a lease that ran out taken off. The caller has the lock.
func (m *Memory) now() (State, error) {
	if m.state.Holder != "" && m.clock() >= m.until {
		m.state.Holder = ""
	}
	if !m.known {
		return State{}, ErrUnknownPair
	}
	return m.state, nil
}

// do runs f on the state, if the witness can be reached.
func (v *memoryView) do(f func(s State) error) error {
	if v.reachable != nil && !v.reachable() {
		return ErrUnreachable
	}
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	s, err := v.m.now()
	if err != nil {
		return err
	}
	return f(s)
}

func (v *memoryView) State(context.Context) (state State, err error) {
	err = v.do(func(s State) error { state = s; return nil })
	return state, err
}

func (v *memoryView) Register(_ context.Context, generation uint64) error {
	err := v.do(func(s State) error {
		if s.Generation != generation || s.Winner != v.self {
			return fmt.Errorf("%w: %d by %q", ErrSuperseded, s.Generation, s.Winner)
		}
		return nil
	})
	if err != ErrUnknownPair {
		return err
	}
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	v.m.known, v.m.state = true, State{Generation: generation, Winner: v.self}
	return nil
}

func (v *memoryView) Claim(_ context.Context, from uint64) error {
	return v.do(func(s State) error {
		_, err := judgeWin(s, v.self, from)
		if err == nil {
			v.m.state.Generation, v.m.state.Winner = from+1, v.self
		}
		return err
	})
}

func (v *memoryView) Win(_ context.Context, from uint64) (time.Duration, error) {
	return v.m.ttl, v.do(func(s State) error {
		_, err := judgeWin(s, v.self, from)
		if err == nil {
			v.take(from + 1)
		}
		return err
	})
}

func (v *memoryView) Hold(_ context.Context, generation uint64) (time.Duration, error) {
	return v.m.ttl, v.do(func(s State) error {
		err := judge(s, v.self, generation)
		if err == nil {
			v.take(generation)
		}
		return err
	})
}

func (v *memoryView) take(generation uint64) {
	v.m.state = State{Generation: generation, Winner: v.self, Holder: v.self}
	v.m.until = v.m.clock() + v.m.ttl
}

func (v *memoryView) Resign(context.Context) error {
	return v.do(func(s State) error {
		if s.Holder == v.self {
			v.m.state.Holder = ""
		}
		return nil
	})
}

func (v *memoryView) Close() error { return nil }
