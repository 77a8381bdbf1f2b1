package pair

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/belay-vm/belay/colo/sim"
)

// simConn is one end of a connection over the world's link.
type simConn struct {
	k     *simSides
	host  *sim.Host // whose end it is
	from  uint64    // its number there
	other *simConn

	mu       sync.Mutex
	got      []byte
	end      error // after that
	closed   bool  // at this end
	garble   int   // turns over a bit of what comes next; 0: does not
	deadline time.Time
	look     chan struct{} // a token: something changed
}

// simPipe connects two hosts.
func simPipe(a, b *simSide) (*simConn, *simConn) {
	x, y := newSimConn(a), newSimConn(b)
	x.other, y.other = y, x
	a.conns, b.conns = append(a.conns, x), append(b.conns, y)
	return x, y
}

func newSimConn(s *simSide) *simConn {
	return &simConn{k: s.k, host: s.host, from: simFromConn + uint64(len(s.conns)), look: make(chan struct{}, 1)}
}

// Who wants something done of the world.
const (
	simFromLog = sim.First + iota
	simFromEnd
	simFromDial
	simFromWitness
	simFromVerify
	simFromShow = 1 << 8
	simFromConn = 1 << 32
)

func simNetError(op string, err error) error { return &net.OpError{Op: op, Net: "sim", Err: err} }

func (c *simConn) changed() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

func (c *simConn) Read(p []byte) (int, error) {
	for {
		n, left, err := c.take(p)
		c.k.jitter()
		if n > 0 || err != nil {
			return n, err
		}
		var over <-chan time.Time
		if left > 0 {
			over = time.After(left)
		}
		select {
		case <-c.look:
		case <-over:
		}
	}
}

// take reads what is there; otherwise it tells how long to wait at most.
func (c *simConn) take(p []byte) (n int, left time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() {
		left = time.Until(c.deadline)
	}
	switch {
	case c.closed:
		err = simNetError("read", net.ErrClosed)
	case errors.Is(c.end, syscall.ECONNRESET):
		err = c.end
	case len(c.got) > 0:
		n = copy(p, c.got)
		c.got = c.got[n:]
	case c.end != nil:
		err = c.end
	case !c.deadline.IsZero() && left <= 0:
		err = simNetError("read", os.ErrDeadlineExceeded)
	}
	return n, left, err
}

// deliver brings bytes, or the end.
func (c *simConn) deliver(p []byte, end error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) > 0 && c.garble > 0 {
		at := c.garble % len(p)
		p[at] ^= 1 << (c.garble % 8)
		c.garble = 0
	}
	c.got = append(c.got, p...)
	if c.end == nil {
		c.end = end
	}
	c.changed()
}

// post sends bytes or the end over the link.
func (c *simConn) post(p []byte, end error) {
	c.host.Post(c.from, func() { c.host.Send(func() { c.other.deliver(p, end) }) })
}

func (c *simConn) Write(p []byte) (int, error) {
	c.k.jitter()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, simNetError("write", net.ErrClosed)
	case c.end != nil && c.end != io.EOF:
		return 0, c.end
	}
	c.post(append([]byte(nil), p...), nil)
	return len(p), nil
}

// CloseWrite ends what is written.
func (c *simConn) CloseWrite() error {
	c.post(nil, io.EOF)
	return nil
}

func (c *simConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.post(nil, io.EOF)
		c.changed()
	}
	return nil
}

// reset ends it at once, at this end.
func (c *simConn) reset() { c.deliver(nil, simNetError("read", syscall.ECONNRESET)) }

// Garble turns over a bit of what the other side says next, or of what it is told.
func (s *simSide) Garble() {
	if len(s.conns) == 0 {
		return
	}
	c := s.conns[len(s.conns)-1]
	if s.host.Chance(0.5) {
		c = c.other
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.garble = 1 + s.host.Number(1<<20)
}

// off is the end of the host: nothing goes out any more.
func (c *simConn) off() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed()
}

func (c *simConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.changed()
	return nil
}

func (c *simConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *simConn) SetWriteDeadline(time.Time) error { return nil } // a write never waits
func (c *simConn) LocalAddr() net.Addr              { return simAddr{} }
func (c *simConn) RemoteAddr() net.Addr             { return simAddr{} }

type simAddr struct{}

func (simAddr) Network() string { return "sim" }
func (simAddr) String() string  { return "sim:1" }

// simListener is where a secondary waits.
type simListener struct {
	calls chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func newSimListener() *simListener {
	return &simListener{calls: make(chan net.Conn, 4), over: make(chan struct{})}
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

func (l *simListener) Addr() net.Addr { return simAddr{} }

// connect calls the other side, if there is a way.
func (s *simSide) connect(ctx context.Context, _ string) (net.Conn, error) {
	answer := make(chan *simConn, 1)
	s.host.Post(simFromDial, func() {
		s.host.After(s.host.Between(20*time.Microsecond, time.Millisecond), func() { answer <- s.reach() })
	})
	select {
	case c := <-answer:
		if c == nil {
			return nil, simNetError("dial", syscall.ECONNREFUSED)
		}
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *simSide) reach() *simConn {
	if !s.host.Linked() {
		return nil
	}
	peer := s.host.Peer().(*simSide)
	if peer.listener == nil || peer.isDead() {
		return nil
	}
	a, b := simPipe(s, peer)
	peer.listener.calls <- b
	return a
}
