package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// ErrMonitor marks a monitor that did not answer in time; it is not used any more.
var ErrMonitor = errors.New("QEMU's monitor does not answer")

// monitor puts deadlines around go-qemu's, which has none: a command in a hung QEMU blocks
// for ever, and so does every command once an event waits that nobody takes. Hence each call
// runs on its own goroutine, events are always drained, and after a time-out the
// connection is closed, which frees that goroutine.
type monitor struct {
	socket *qmp.SocketMonitor

	mu      sync.Mutex
	dead    error       // sticky: why the monitor is not used any more
	events  []qmp.Event // all since the start; a guest's life knows some dozens
	arrived chan struct{}
}

// dialMonitor connects to the socket that QEMU listens on.
func dialMonitor(ctx context.Context, path string) (*monitor, error) {
	socket, err := qmp.NewSocketMonitor("unix", path, 2*time.Second)
	if err != nil {
		return nil, err
	}
	m := &monitor{socket: socket, arrived: make(chan struct{})}
	if err := m.bounded(ctx, socket.Connect); err != nil {
		m.close()
		return nil, fmt.Errorf("monitor: %w", err)
	}
	events, err := socket.Events(ctx)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("monitor: %w", err)
	}
	go m.drain(events)
	return m, nil
}

func (m *monitor) drain(events <-chan qmp.Event) {
	for e := range events {
		m.mu.Lock()
		m.events = append(m.events, e)
		close(m.arrived)
		m.arrived = make(chan struct{})
		m.mu.Unlock()
	}
}

// run executes one command and decodes its answer into out, if that is not nil.
func (m *monitor) run(ctx context.Context, command string, args, out any) error {
	text, err := json.Marshal(qmp.Command{Execute: command, Args: args})
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var reply []byte
	err = m.bounded(ctx, func() (err error) {
		reply, err = m.socket.Run(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	if out == nil {
		return nil
	}
	wrapped := struct {
		Return any `json:"return"`
	}{out}
	if err := json.Unmarshal(reply, &wrapped); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

// bounded waits for call to end or for ctx to; the latter ends the monitor's life.
func (m *monitor) bounded(ctx context.Context, call func() error) error {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead != nil {
		return dead
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		m.mu.Lock()
		m.dead = fmt.Errorf("%w: %w", ErrMonitor, ctx.Err())
		m.mu.Unlock()
		m.close()
		return m.dead
	}
}

// mark is the number of events so far, from which waitEvent can start.
func (m *monitor) mark() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

// waitEvent waits for an event after mark that match accepts.
func (m *monitor) waitEvent(ctx context.Context, mark int, match func(qmp.Event) bool) error {
	for {
		m.mu.Lock()
		events, arrived := m.events[mark:], m.arrived
		m.mu.Unlock()
		for _, e := range events {
			if match(e) {
				return nil
			}
		}
		mark += len(events)
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close does not wait: go-qemu's Disconnect drains its reader, which may itself wait.
func (m *monitor) close() {
	go func() { _ = m.socket.Disconnect() }()
}
