package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Monitor runs ordinary commands through go-qemu, one at a time, behind a guard. On any
// fault, a deadline that passes included, the connection is closed and the Monitor is dead: its
// cause is the error of the command that met the fault and of all later ones. It has no events and
// no out-of-band commands; those are a Link's.
//
// The guard stands between go-qemu and QEMU. It keeps the connection; each command gets a go-qemu
// monitor of its own, whose peer is the guard (pair). In such a session none of go-qemu's
// hazards can come up:
//
//   - events stop at the guard: one that nobody takes makes go-qemu answer no command;
//   - every line is whole, valid and of bounded length: go-qemu passes over one that it cannot
//     read and waits for ever, and dies of one that is too long;
//   - one answer to one command, without an id: go-qemu matches them by order;
//   - nothing comes behind the answer: go-qemu hands out its read buffer, which the next
//     line would overwrite;
//   - QEMU's end is noticed at once, also while no command runs;
//   - every wait in go-qemu ends when the guard closes its end, and so does its reader.
//
// The guard also keeps QEMU's class of an error, which go-qemu drops.
type Monitor struct {
	name  string // of the socket, for errors
	qemu  net.Conn
	pid   int
	hello []byte        // QEMU's greeting
	turn  chan struct{} // a token for the command under way
	ended sync.WaitGroup

	mu     sync.Mutex
	answer chan<- answer // of the command under way; nil if none is, or its answer came
	local  net.Conn      // of the command under way; nil if none is
	cause  error         // set once, before dead is closed
	dead   chan struct{}
}

// answer is QEMU's to one command: as it stands, and read.
type answer struct {
	text    []byte
	message *message
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
	qemu, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	m := &Monitor{name: path, qemu: qemu, pid: peerPID(qemu),
		turn: make(chan struct{}, 1), dead: make(chan struct{})}
	in := newLines(qemu, maxReply)
	stop := context.AfterFunc(ctx, func() { _ = qemu.SetReadDeadline(time.Unix(1, 0)) })
	_, hello, err := readGreeting(in)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = qemu.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.hello = slices.Clone(hello)
	m.ended.Go(func() { m.reader(in) })
	if err := m.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = m.Close()
		return nil, named(path, err)
	}
	return m, nil
}

// Execute runs a command as Link.Execute does, but when ctx ends while the command is
// under way, the Monitor ends as well.
func (m *Monitor) Execute(ctx context.Context, command string, args, out any) error {
	if err := m.execute(ctx, command, args, out); err != nil {
		if _, refused := err.(*CommandError); refused {
			return err
		}
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

func (m *Monitor) execute(ctx context.Context, command string, args, out any) error {
	if Large(command) {
		return ErrLarge
	}
	line, err := json.Marshal(request{Execute: command, Args: args})
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer func() { <-m.turn }()
	stop := context.AfterFunc(ctx, func() { m.fail(fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())) })
	defer stop()
	reply, refused, err := m.converse(line)
	switch {
	case refused != nil:
		return refused.result(command, nil)
	case err != nil:
		return err
	}
	answered, err := decodeLine(reply)
	if err != nil {
		return err
	}
	return answered.result(command, out)
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
	case <-m.dead:
		return m.Err()
	}
	if err := m.Err(); err != nil {
		<-m.turn
		return err
	}
	return nil
}

// converse has go-qemu run one command, and returns what go-qemu returned or, if QEMU
// refused the command, QEMU's words.
func (m *Monitor) converse(line []byte) (reply []byte, refused *message, err error) {
	p, err := newPair()
	if err != nil {
		return nil, nil, err // nothing was sent
	}
	m.setLocal(p.local)
	var got answer
	served := make(chan error, 1)
	go func() {
		served <- p.serve(m.hello, func(command []byte) (text []byte, err error) {
			got, err = m.ask(command)
			return got.text, err
		})
	}()
	reply, err = p.run(line)
	p.close() // from here on nobody writes to reply
	serveErr := <-served
	m.setLocal(nil)
	if got.message != nil && got.message.Error != nil {
		return nil, got.message, nil
	}
	if err == nil {
		err = serveErr
	}
	if err != nil { // go-qemu or the guard failed, not the command
		m.fail(fmt.Errorf("%w: %w", ErrFault, err))
		return nil, nil, m.Err()
	}
	return reply, nil, nil
}

// setLocal says what fail has to close, or closes it.
func (m *Monitor) setLocal(local net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.local = local
	if m.cause != nil && local != nil {
		_ = local.Close()
	}
}

// ask sends a command to QEMU and waits for its answer, or the Monitor's death.
func (m *Monitor) ask(command []byte) (answer, error) {
	got := make(chan answer, 1)
	m.mu.Lock()
	m.answer = got
	m.mu.Unlock()
	if _, err := m.qemu.Write(append(command[:len(command):len(command)], '\n')); err != nil {
		m.fail(fmt.Errorf("%w: %w", ErrGone, err))
	}
	select {
	case a := <-got:
		return a, nil
	case <-m.dead:
		return answer{}, m.Err()
	}
}

// reader takes what QEMU says until the end.
func (m *Monitor) reader(in *lines) {
	for {
		line, err := in.next()
		if err == nil {
			err = m.take(line)
		}
		if err != nil {
			m.fail(err)
			return
		}
	}
}

func (m *Monitor) take(line []byte) error {
	read, err := decodeLine(line)
	switch {
	case err != nil:
		return err
	case read.QMP != nil:
		return fmt.Errorf("%w: a second greeting", ErrFault)
	case !read.isReply():
		return nil // an event: the Link delivers those
	case read.ID != nil: // no command of ours had one, and go-qemu cannot read all of them
		return fmt.Errorf("%w: an answer to no command, id %.40q", ErrFault, read.ID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answer == nil {
		return fmt.Errorf("%w: an answer to no command: %s", ErrFault, excerpt(line))
	}
	m.answer <- answer{slices.Clone(line), read} // has room for it
	m.answer = nil
	return nil
}

// fail ends the Monitor; the first cause counts.
func (m *Monitor) fail(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cause != nil {
		return
	}
	m.cause = fmt.Errorf("%s: %w", m.name, cause)
	close(m.dead)
	_ = m.qemu.Close()
	if m.local != nil {
		_ = m.local.Close()
	}
}

// Done is closed when the Monitor has died.
func (m *Monitor) Done() <-chan struct{} { return m.dead }

// Err is the cause of the Monitor's death, nil while it lives. It wraps ErrGone, ErrFault,
// ErrTimeout or ErrClosed.
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cause
}

// PID is QEMU's process, 0 if that is unknown. See Link.PID.
func (m *Monitor) PID() int { return m.pid }

// Close ends the Monitor and waits for its reader.
func (m *Monitor) Close() error {
	m.fail(ErrClosed)
	m.ended.Wait()
	return nil
}
