package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout is the deadline of a command whose context has none.
const DefaultTimeout = 10 * time.Second

// What may be under way on a Link at a time. QEMU stops reading a monitor, out-of-band
// commands included, when eight ordinary ones wait in its queue (monitor/qmp.c:
// QMP_REQ_QUEUE_LEN_MAX), so there are always fewer.
const (
	maxOrdinary = 4
	maxOOB      = 64
)

// Link is a QMP connection of our own. It does what go-qemu's cannot: it runs commands out of
// band, and its events are a stream with a place for everything. It also runs ordinary
// commands, which may wait: a command whose deadline passes is given up alone, its answer is
// thrown away when it comes, and the Link lives on. Hence a Link's events have no gap just because
// QEMU was busy. A fault of the connection ends the Link, with its cause.
//
// All methods may be called by any goroutine at any time, Next and Drain by one at a time.
type Link struct {
	conn  net.Conn
	name  string // of the socket, for errors
	oob   bool
	qemu  Version
	pid   int
	queue *queue

	ordinary, outOfBand chan struct{} // a token for each command under way

	out chan []byte // lines for the writer

	mu    sync.Mutex
	calls map[uint64]*call // by id: sent and not answered
	ids   uint64           // the newest one
	cause error            // set once, before dead is closed
	dead  chan struct{}
	ended sync.WaitGroup // of reader and writer
}

// call is one command under way. Its token goes back when the answer comes, be it late.
type call struct {
	id      uint64
	token   chan struct{}
	barrier bool
	answer  chan *message // has room for it
}

// DialLink connects to the Unix socket at path and negotiates. It waits for a greeting as
// long as ctx does (DefaultTimeout if that has no deadline), since a QEMU that is busy, or has
// another client on this socket, accepts the connection and says nothing.
func DialLink(ctx context.Context, path string) (*Link, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	return newLink(ctx, conn, path)
}

// newLink greets on conn, which it owns from now on.
func newLink(ctx context.Context, conn net.Conn, name string) (*Link, error) {
	l := &Link{conn: conn, name: name, pid: peerPID(conn), queue: newQueue(), calls: map[uint64]*call{},
		ordinary: make(chan struct{}, maxOrdinary), outOfBand: make(chan struct{}, maxOOB),
		out: make(chan []byte, maxOrdinary+maxOOB), dead: make(chan struct{})}
	in := newLines(conn, MaxLine)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	hello, _, err := readGreeting(in)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is set, or about to be
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l.qemu = hello.Version
	l.oob = slices.Contains(hello.Capabilities, "oob")
	l.ended.Go(func() { l.reader(in) })
	l.ended.Go(l.writer)
	if err := l.negotiate(ctx); err != nil {
		_ = l.Close()
		return nil, named(name, err)
	}
	return l, nil
}

// negotiate ends QMP's first phase, in which it takes no other command and sends no event.
func (l *Link) negotiate(ctx context.Context) error {
	type enable struct {
		Enable []string `json:"enable"`
	}
	var args any
	if l.oob {
		args = enable{[]string{"oob"}}
	}
	return l.Execute(ctx, "qmp_capabilities", args, nil)
}

// Version is QEMU's.
func (l *Link) Version() Version { return l.qemu }

// OOB reports whether the monitor takes commands out of band.
func (l *Link) OOB() bool { return l.oob }

// PID is QEMU's process, by what the kernel says of who listens; 0 if it does not say. It
// stays the same when the Link has ended, and may then be another process's.
func (l *Link) PID() int { return l.pid }

// Done is closed when the Link has ended; Err then says why.
func (l *Link) Done() <-chan struct{} { return l.dead }

// Err is the cause of the Link's end, nil while it lives. It wraps ErrGone, ErrFault,
// ErrNotTaken or ErrClosed.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Close ends the Link and waits for its goroutines.
func (l *Link) Close() error {
	l.fail(ErrClosed)
	l.ended.Wait()
	return nil
}

// Next waits for the next event. Behind the last one of a Link that has ended it returns the
// cause of the end; it returns ctx.Err() if ctx ends first.
func (l *Link) Next(ctx context.Context) (Event, error) { return l.queue.take(ctx) }

// Barrier has QEMU answer out of band, which it does even while its main loop stands still
// and its big lock is held, and puts an event EventBarrier into the stream at the place of the
// answer. Whoever has taken that event, known by the returned mark, has taken every event that
// QEMU raised before Barrier was called.
func (l *Link) Barrier(ctx context.Context) (mark uint64, err error) {
	c := &call{token: l.outOfBand, barrier: true}
	err = l.run(ctx, c, request{OOB: "yank", Args: yankArgs{[]YankInstance{}}}, nil)
	return c.id, err
}

// Drain sets a barrier and takes all events in front of it. It is for whoever calls Next. Events
// that were taken before an error are returned with it.
func (l *Link) Drain(ctx context.Context) ([]Event, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	mark, err := l.Barrier(ctx)
	if err != nil {
		return nil, err
	}
	var taken []Event
	for {
		e, err := l.Next(ctx)
		switch {
		case err != nil:
			return taken, err
		case e.Name != EventBarrier:
			taken = append(taken, e)
		case e.Mark >= mark:
			return taken, nil
		}
	}
}

// Execute runs an ordinary command: args is encoded as JSON unless it is nil, the result is
// decoded into out unless that is nil. Errors are CommandError if QEMU refused; ErrTimeout if
// ctx ended, when the command may have been executed or may be later; the Link's cause if it ended.
func (l *Link) Execute(ctx context.Context, command string, args, out any) error {
	return l.run(ctx, &call{token: l.ordinary}, request{Execute: command, Args: args}, out)
}

// ExecuteOOB is Execute out of band, for the few commands that QEMU allows it for.
func (l *Link) ExecuteOOB(ctx context.Context, command string, args, out any) error {
	return l.run(ctx, &call{token: l.outOfBand}, request{OOB: command, Args: args}, out)
}

func (l *Link) run(ctx context.Context, c *call, r request, out any) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	command := r.Execute + r.OOB
	if r.OOB != "" && !l.oob {
		return fmt.Errorf("%s: %w", l.name, ErrNoOOB)
	}
	if err := l.enter(ctx, c, r); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case m := <-c.answer:
		return m.result(command, out)
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w: %w", command, ErrTimeout, ctx.Err())
	case <-l.dead:
	}
	select {
	case m := <-c.answer: // it came before the end
		return m.result(command, out)
	default:
		return fmt.Errorf("QMP %s: %w", command, l.Err())
	}
}

// enter waits for a place among the commands under way, and hands the line to the writer.
func (l *Link) enter(ctx context.Context, c *call, r request) error {
	if r.Args != nil {
		args, err := json.Marshal(r.Args)
		if err != nil {
			return err
		}
		r.Args = json.RawMessage(args)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.token <- struct{}{}:
	case <-l.dead:
		return l.Err()
	case <-ctx.Done():
		return fmt.Errorf("%w: earlier commands have no answer yet: %w", ErrTimeout, ctx.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	l.ids++
	c.id, r.ID = l.ids, l.ids
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.answer = make(chan *message, 1)
	l.calls[c.id] = c
	l.out <- append(line, '\n') // has room for as many as there are tokens
	return nil
}

// writer sends lines whole. It has no deadline: a line that is cut off could not be mended, and a
// QEMU that does not read for a while is no fault of the connection.
func (l *Link) writer() {
	for {
		select {
		case line := <-l.out:
			if _, err := l.conn.Write(line); err != nil {
				l.fail(fmt.Errorf("%w: %w", ErrGone, err))
			}
		case <-l.dead:
			return
		}
	}
}

// reader takes what QEMU says until the end.
func (l *Link) reader(in *lines) {
	for {
		line, err := in.next()
		if err == nil {
			err = l.take(line)
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

func (l *Link) take(line []byte) error {
	m, err := decodeLine(line)
	switch {
	case err != nil:
		return err
	case m.QMP != nil:
		return fmt.Errorf("%w: a second greeting", ErrFault)
	case m.isReply():
		return l.answer(m)
	}
	return l.queue.put(m.event())
}

// answer hands an answer to its command. The barrier comes into the stream first, so that
// it is there when Barrier returns.
func (l *Link) answer(m *message) error {
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	if err != nil && m.Error != nil { // QEMU could not read a line of ours
		return fmt.Errorf("%w: QEMU: %.200s", ErrFault, m.Error.Desc)
	}
	l.mu.Lock()
	c := l.calls[id]
	delete(l.calls, id)
	l.mu.Unlock()
	if c == nil {
		return fmt.Errorf("%w: an answer to no command, id %.40q", ErrFault, m.ID)
	}
	<-c.token
	if c.barrier && m.Return != nil {
		if err := l.queue.put(Event{Name: EventBarrier, Mark: id}); err != nil {
			return err
		}
	}
	c.answer <- m
	return nil
}

// fail ends the Link; the first cause counts.
func (l *Link) fail(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = fmt.Errorf("%s: %w", l.name, cause)
	close(l.dead)
	_ = l.conn.Close() // the reader may wait on it
	l.queue.end(l.cause)
}

// named says which socket it was, unless err does.
func named(name string, err error) error {
	if strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// bounded gives every context a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}
