package qmp

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxReply is the longest line, in bytes, that go-qemu gets to see. It reads with a
// bufio.Scanner whose limit is 64 KiB.
const maxReply = 60 << 10

// relay stands between go-qemu and QEMU, inside this process: go-qemu opens its own
// connection, so it is given the address of a socket whose other end is here. What comes
// through is a conversation in which none of go-qemu's hazards can happen:
//
//   - events stop here: one that nobody takes makes go-qemu answer no command;
//   - every line is whole, valid and of bounded length: go-qemu passes over one that it cannot read
//     and waits for ever, and dies of one that is too long;
//   - exactly one answer to a command, and nothing until the next command: go-qemu
//     hands out its read buffer, which the next line would overwrite;
//   - every end of QEMU is noticed at once, also while no command runs, and closes both sides,
//     which frees whoever waits in go-qemu.
//
// It also keeps QEMU's class of an error, which go-qemu drops.
type relay struct {
	qemu  net.Conn
	local net.Conn // go-qemu's peer
	first []byte   // the greeting, not yet passed on

	mu       sync.Mutex
	expected bool     // a command has been, or is being, sent
	last     *message // the answer that was passed on last
	cause    error    // set once, before dead is closed
	dead     chan struct{}
	ended    sync.WaitGroup
}

// newRelay waits for QEMU's greeting and then for connect, which has to connect to the
// address it is given.
func newRelay(ctx context.Context, path string, connect func(addr string) error) (*relay, error) {
	qemu, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	r := &relay{qemu: qemu, dead: make(chan struct{})}
	in := newLines(qemu, maxReply)
	stop := context.AfterFunc(ctx, func() { _ = qemu.SetReadDeadline(time.Unix(1, 0)) })
	_, hello, err := readGreeting(in)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		r.first = append(append(r.first, hello...), '\n')
		r.local, err = selfConnect(ctx, connect)
	}
	if err != nil {
		_ = qemu.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.ended.Go(func() { r.down(in) })
	r.ended.Go(r.up)
	return r, nil
}

// selfConnect returns the other end of the connection that connect opens. The address is an
// abstract one that the kernel chooses; nobody but this process gets in.
func selfConnect(ctx context.Context, connect func(addr string) error) (net.Conn, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = l.SetDeadline(deadline) // accept says if the listener is closed
	}
	done := make(chan error, 1)
	go func() {
		err := connect(l.Addr().String())
		if err != nil {
			_ = l.Close() // nobody comes
		}
		done <- err
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			if cause := <-done; cause != nil {
				err = cause
			}
			return nil, err
		}
		if peerPID(conn) != os.Getpid() {
			_ = conn.Close()
			continue
		}
		if err := <-done; err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// expect allows one command and its answer.
func (r *relay) expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected, r.last = true, nil
}

// answer is QEMU's to the last command, nil if none came.
func (r *relay) answer() *message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// up carries commands, which go-qemu writes whole.
func (r *relay) up() {
	_, err := io.Copy(r.qemu, r.local)
	if err == nil {
		err = ErrClosed // go-qemu disconnected
	}
	r.fail(fmt.Errorf("%w: %w", ErrGone, err))
}

// down carries the greeting and answers.
func (r *relay) down(in *lines) {
	line := r.first
	for {
		if line != nil {
			if _, err := r.local.Write(line); err != nil {
				r.fail(fmt.Errorf("%w: %w", ErrGone, err))
				return
			}
		}
		text, err := in.next()
		if err == nil {
			line, err = r.pass(text)
		}
		if err != nil {
			r.fail(err)
			return
		}
	}
}

// pass returns what of one line of QEMU's goes to go-qemu, if anything does.
func (r *relay) pass(text []byte) ([]byte, error) {
	m, err := decodeLine(text)
	switch {
	case err != nil:
		return nil, err
	case m.QMP != nil:
		return nil, fmt.Errorf("%w: a second greeting", ErrFault)
	case !m.isReply():
		return nil, nil // an event: the Link delivers those
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected {
		return nil, fmt.Errorf("%w: an answer to no command", ErrFault)
	}
	if m.ID != nil { // go-qemu sends none, and cannot read all of them
		return nil, fmt.Errorf("%w: an answer with an id", ErrFault)
	}
	r.expected, r.last = false, m
	return append(append([]byte(nil), text...), '\n'), nil
}

// fail closes both sides; the first cause counts.
func (r *relay) fail(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return
	}
	r.cause = cause
	close(r.dead)
	_ = r.qemu.Close()
	_ = r.local.Close()
}

func (r *relay) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}
