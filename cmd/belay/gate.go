package main

import (
	"net"
	"sync"
	"sync/atomic"
)

// gate keeps front ends and rollbacks apart. It stands before the listener of a server that
// serves one front end at a time and accepts the next when the last is gone: from when Accept
// returns until it is called again, a front end is there.
type gate struct {
	net.Listener

	mu   sync.Mutex  // held while nobody may come in
	busy atomic.Bool // a front end is there; changed with mu held
}

// Accept returns the next front end, once nothing that excludes front ends is going on.
func (g *gate) Accept() (net.Conn, error) {
	g.enter(false)
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g.enter(true)
	return c, nil
}

func (g *gate) enter(busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy.Store(busy)
}

// connected reports whether a front end is there.
func (g *gate) connected() bool { return g.busy.Load() }

// alone does the work while no front end can come in; it returns false, and does nothing, when
// one is there.
func (g *gate) alone(work func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy.Load() {
		return false
	}
	work()
	return true
}
