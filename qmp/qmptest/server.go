// Package qmptest plays QEMU's side of QMP, for tests: a server on a Unix socket that behaves as
// QEMU 7.2 does where clients notice (one client at a time, no events before the negotiation,
// ordinary commands one after the other, out-of-band ones beside them, errors in its classes), and
// misbehaves when it is told to.
package qmptest

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// Error is a refusal of a command.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// Call is a command that came.
type Call struct {
	Command string
	Args    json.RawMessage // nil if it has none
	OOB     bool
	ID      json.RawMessage // nil if it has none
	Done    <-chan struct{} // closed when the server or the client has gone; whoever waits must look
}

// Silence as a handler's result means that the command is not answered.
var Silence = &struct{}{}

// Handler executes a command. Ordinary ones run one at a time; one that waits is a QEMU
// whose main loop stands still.
type Handler func(Call) (result any, refused *Error)

// Config says how a server differs from QEMU. The zero value is QEMU.
type Config struct {
	Path     string // of the socket; empty for one in the test's directory
	NoOOB    bool   // as on a chardev with several front ends
	Greeting string // instead of QMP's, as it stands
	Mute     bool   // it accepts and says nothing
}

// Server is a QEMU's monitor.
type Server struct {
	config   Config
	listener net.Listener
	ended    sync.WaitGroup
	calls    chan Call // has room for many

	mu       sync.Mutex
	closed   bool
	handlers map[string]Handler
	oob      map[string]bool // may be executed out of band
	client   *client
	arrived  chan struct{} // closed when the next client has negotiated
}

// client is one connection, from its acceptance.
type client struct {
	conn   net.Conn
	inBand chan Call
	done   chan struct{}

	mu         sync.Mutex // of writing
	negotiated bool
	oob        bool
}

// maxCalls is how many calls a server keeps for Called.
const maxCalls = 4096

// New starts a server that ends with the test.
func New(t testing.TB, config Config) *Server {
	t.Helper()
	if config.Path == "" {
		config.Path = filepath.Join(t.TempDir(), "qmp.sock")
	}
	l, err := net.Listen("unix", config.Path)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{config: config, listener: l, calls: make(chan Call, maxCalls),
		handlers: map[string]Handler{}, oob: map[string]bool{}, arrived: make(chan struct{})}
	newMachine(s)
	s.ended.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

// Path is the socket's.
func (s *Server) Path() string { return s.config.Path }

// Handle sets or replaces what a command does.
func (s *Server) Handle(command string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[command] = h
}

// AllowOOB lets a command be executed out of band.
func (s *Server) AllowOOB(command string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oob[command] = true
}

// Calls are the commands in the order in which they came; qmp_capabilities is not among them.
func (s *Server) Calls() <-chan Call { return s.calls }

// Arrived waits until a client has negotiated.
func (s *Server) Arrived() {
	s.mu.Lock()
	arrived := s.arrived
	s.mu.Unlock()
	<-arrived
}

// Event raises an event. Without a client that has negotiated it is lost, as in QEMU.
func (s *Server) Event(name string, data any) {
	e := struct {
		Stamp struct {
			Seconds      int64 `json:"seconds"`
			Microseconds int64 `json:"microseconds"`
		} `json:"timestamp"`
		Event string `json:"event"`
		Data  any    `json:"data,omitempty"`
	}{Event: name, Data: data}
	e.Stamp.Seconds, e.Stamp.Microseconds = 1700000000, 250000
	if c := s.current(); c != nil && c.ready() {
		c.send(e)
	}
}

// Raw writes text to the client as it stands.
func (s *Server) Raw(text string) {
	if c := s.current(); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = c.conn.Write([]byte(text)) // a client that has gone is the test's business
	}
}

// Cut closes the client's connection; the next one is accepted.
func (s *Server) Cut() {
	if c := s.current(); c != nil {
		_ = c.conn.Close()
	}
}

// Close ends the server as QEMU's end does.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.listener.Close()
	s.Cut()
	s.ended.Wait()
}

func (s *Server) current() *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := &client{conn: conn, inBand: make(chan Call, 64), done: make(chan struct{})}
		s.mu.Lock()
		s.client = c
		if s.closed {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.serve(c)
	}
}

// serve talks to one client until it goes.
func (s *Server) serve(c *client) {
	s.ended.Go(func() { s.mainLoop(c) })
	defer close(c.done)
	defer c.conn.Close()
	if !s.config.Mute {
		s.greet(c)
	}
	for in := json.NewDecoder(c.conn); ; { // not by lines: QEMU does not wait for their ends either
		var text json.RawMessage
		if err := in.Decode(&text); err != nil {
			break
		}
		s.receive(c, text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = nil
	if c.ready() {
		s.arrived = make(chan struct{})
	}
}

func (s *Server) greet(c *client) {
	if s.config.Greeting != "" {
		_, _ = c.conn.Write([]byte(s.config.Greeting))
		return
	}
	offered := `"oob"`
	if s.config.NoOOB {
		offered = ""
	}
	_, _ = fmt.Fprintf(c.conn, `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, `+
		`"package": "qmptest"}, "capabilities": [%s]}}`+"\r\n", offered)
}

func (c *client) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.negotiated
}

// send writes one message as a line.
func (c *client) send(v any) {
	text := line(v)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(text)
}

// agree sends the answer to the negotiation. Whoever has it gets every event from then on, and no event
// comes before it.
func (c *client) agree(v any) {
	text := line(v)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(text)
	c.negotiated = true
}

func line(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the test gave a result that is no JSON
	}
	return append(text, "\r\n"...)
}
