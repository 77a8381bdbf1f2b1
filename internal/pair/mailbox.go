package pair

import "sync"

// mailbox holds what the loop has to do. Who posts never waits.
type mailbox struct {
	mu     sync.Mutex
	list   []func()
	closed bool
	wake   chan struct{} // a token: look again
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(f func()) {
	m.mu.Lock()
	if !m.closed {
		m.list = append(m.list, f)
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns all that was put.
func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}

// close has nothing taken in any more.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.list = true, nil
}
