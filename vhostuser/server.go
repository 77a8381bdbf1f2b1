package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Device is what a backend serves.
type Device interface {
	// Features are the virtio feature bits of the device's own type. This package adds those
	// of the transport.
	Features() uint64
	// SetFeatures tells what the front end acknowledged. No ring is served meanwhile.
	SetFeatures(acked uint64)
	NumQueues() int
	// ReadConfig fills p with the config space from off on, with zeroes where nothing is.
	// Any goroutine may call it.
	ReadConfig(p []byte, off uint32) error
	// WriteConfig changes the config space; an error refuses the front end's request.
	WriteConfig(off uint32, p []byte) error
	// Run serves a started and enabled ring until q.StopFD is readable, then finishes every
	// chain it has taken and returns nil: after that nothing of the queue touches guest
	// memory. An error means that the ring is broken; the session goes on. Each Run has a
	// goroutine of its own, and the same ring may be run again.
	Run(q *Queue) error
}

// Options are a server's choices.
type Options struct {
	// MemSlots offers memory in slots (CONFIGURE_MEM_SLOTS): more than eight regions and no
	// memory message per start. Without it a backend that is restarted while the machine is
	// paused is served again by QEMU 7.2, with it the disk is dead. Slot messages are
	// understood either way.
	MemSlots bool
}

// Server serves a Device to one front end at a time. Its methods may be called from any
// goroutine.
type Server struct {
	dev    Device
	log    hclog.Logger
	opts   Options
	count  counters
	queues queueCounts
	seen   configSeen

	// turn holds one token while a session exists: the next front end is served when the
	// last one's requests have ended and its memory is unmapped.
	turn chan struct{}

	mu      sync.Mutex
	current *session // nil if no front end is connected
}

// NewServer makes a server; Serve or ServeConn does its work.
func NewServer(dev Device, log hclog.Logger, opts Options) *Server {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Server{dev: dev, log: log, opts: opts, turn: make(chan struct{}, 1)}
}

// acceptPause is the wait before accepting again when that failed for lack of descriptors
// or memory.
const acceptPause = 100 * time.Millisecond

// Serve accepts front ends, one after the other, until the context ends. It closes the
// listener and returns nil when the last session is drained. A session's error concerns its
// front end only: it is logged.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer func() { _ = l.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.serveAccepted(ctx, c)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		default:
			s.log.Error("cannot accept a connection", "error", err)
			pause(ctx, acceptPause)
		}
	}
}

func (s *Server) serveAccepted(ctx context.Context, c net.Conn) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		s.log.Error("not a UNIX socket", "address", c.RemoteAddr())
		_ = c.Close()
		return
	}
	if err := s.ServeConn(ctx, u); err != nil {
		s.log.Error("session ended", "error", err)
	}
}

// ServeConn serves one front end until it hangs up or the context ends, both of which return
// nil, or until it misbehaves. It waits for its turn if there is another front end, owns the
// connection and returns when everything is drained and unmapped.
func (s *Server) ServeConn(ctx context.Context, c *net.UnixConn) error {
	defer func() { _ = c.Close() }()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil
	}
	// A deadline in the past ends a read or write that waits for a silent peer.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	n, err := s.numQueues()
	if err != nil {
		return err
	}
	s.queues.size(n)
	s.seen.forget()
	ss := newSession(s, newConn(c), n)
	s.setCurrent(ss)
	s.count.sessions.Add(1)
	s.log.Info("front end connected")
	err = ss.run()
	s.setCurrent(nil)
	ss.close()
	s.log.Info("front end gone")
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) numQueues() (int, error) {
	n := s.dev.NumQueues()
	if n < 1 || n > maxQueues {
		return 0, fmt.Errorf("device with %d queues, want 1 to %d", n, maxQueues)
	}
	return n, nil
}

func (s *Server) setCurrent(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = ss
}

// Connected reports whether a front end is connected.
func (s *Server) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil
}

// ConfigChanged tells the front end that the config space is another now. A front end that
// cannot hear it (none connected, its rings stopped) is told when its rings are enabled.
func (s *Server) ConfigChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.announceConfig()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
