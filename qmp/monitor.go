package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// Monitor runs ordinary commands through go-qemu, one at a time, behind a guard (see relay).
// On any fault, a deadline that passes included, the connection is closed and the Monitor is
// dead: its cause is the error of the command that met the fault and of all later ones. It
// has no events and no out-of-band commands; those are a Link's.
type Monitor struct {
	name   string // of the socket, for errors
	relay  *relay
	socket *goqemu.SocketMonitor
	turn   chan struct{} // a token for the command under way
}

// large are commands whose answers go-qemu may not be able to read: they grow with the
// schema, the machine, or what a person asks for.
var large = []string{
	"query-qmp-schema", "human-monitor-command", "query-block", "query-named-block-nodes",
	"query-blockstats", "query-cpu-definitions", "query-pci", "qom-list-types", "qom-list-properties",
	"device-list-properties", "query-stats", "query-stats-schemas", "query-rocker-of-dpa-flows",
}

// Large reports whether a Monitor refuses the command because of its answer.
func Large(command string) bool { return slices.Contains(large, command) }

// DialMonitor connects to the Unix socket at path and negotiates, within ctx's deadline
// (DefaultTimeout if it has none).
func DialMonitor(ctx context.Context, path string) (*Monitor, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	m := &Monitor{name: path, turn: make(chan struct{}, 1)}
	deadline, _ := ctx.Deadline()
	var err error
	m.relay, err = newRelay(ctx, path, func(addr string) (err error) {
		m.socket, err = goqemu.NewSocketMonitor("unix", addr, time.Until(deadline))
		return err
	})
	if err != nil {
		if m.socket != nil {
			_ = m.socket.Disconnect()
		}
		return nil, err
	}
	m.relay.expect() // of qmp_capabilities
	if err := m.guarded(ctx, m.socket.Connect); err != nil {
		_ = m.Close()
		return nil, err
	}
	return m, nil
}

// Execute runs a command as Link.Execute does, but when ctx ends while the command is
// under way, the Monitor ends as well.
func (m *Monitor) Execute(ctx context.Context, command string, args, out any) error {
	if Large(command) {
		return fmt.Errorf("QMP %s: %w", command, ErrLarge)
	}
	line, err := json.Marshal(request{Execute: command, Args: args})
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := m.enter(ctx); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	defer func() { <-m.turn }()
	m.relay.expect()
	err = m.guarded(ctx, func() error {
		_, err := m.socket.Run(line)
		return err
	})
	answer := m.relay.answer()
	if err != nil && (answer == nil || m.relay.err() != nil) {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return answer.result(command, out)
}

// enter waits for the commands before. A command that was not sent does no harm.
func (m *Monitor) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: an earlier command has no answer yet: %w", ErrTimeout, ctx.Err())
	case <-m.relay.dead:
		return m.Err()
	}
	if err := m.Err(); err != nil {
		<-m.turn
		return err
	}
	return nil
}

// guarded lets call wait in go-qemu no longer than ctx and the connection last. It ends
// only when call has: closing the connection makes it.
func (m *Monitor) guarded(ctx context.Context, call func() error) error {
	stop := context.AfterFunc(ctx, func() {
		m.relay.fail(fmt.Errorf("%w: %w", ErrTimeout, ctx.Err()))
	})
	err := call()
	stop()
	if err == nil {
		return nil
	}
	if m.relay.answer() == nil { // it is not QEMU that refused
		m.relay.fail(fmt.Errorf("%w: %w", ErrFault, err))
	}
	if cause := m.Err(); cause != nil {
		return cause
	}
	return err
}

// Done is closed when the Monitor has died.
func (m *Monitor) Done() <-chan struct{} { return m.relay.dead }

// Err is the cause of the Monitor's death, nil while it lives. It wraps ErrGone, ErrFault,
// ErrTimeout or ErrClosed.
func (m *Monitor) Err() error {
	if cause := m.relay.err(); cause != nil {
		return fmt.Errorf("%s: %w", m.name, cause)
	}
	return nil
}

// Close ends the Monitor and waits for its goroutines.
func (m *Monitor) Close() error {
	m.relay.fail(ErrClosed)
	m.relay.ended.Wait()
	_ = m.socket.Disconnect() // after the end of its peer it only waits for its own reader
	return nil
}
