package vhostuser

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// channel is the backend channel: the socket on which this end speaks first. Nothing is ever
// asked for in return, because the front end may be waiting in a request of its own and
// would answer only after that. Sending never blocks.
//
// The session's goroutine replaces the socket, any goroutine may announce; mu orders them.
type channel struct {
	mu      sync.Mutex
	fd      int  // -1 if there is none
	allowed bool // the front end has the CONFIG feature, without which it knows no such message
}

var errNoChannel = errors.New("the front end has given no backend channel")

// replace takes a new socket over and closes the old one.
func (c *channel) replace(fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeFD(c.fd)
	c.fd = fd
}

func (c *channel) allow(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed = on
}

// announce sends CONFIG_CHANGE_MSG. The socket's end-of-file is no error worth more than a
// line of log: front ends close it when the device is unplugged. A message that went out in
// part would garble all that follow, so the channel is given up then.
func (c *channel) announce() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || !c.allowed {
		return errNoChannel
	}
	p := header{request: backendConfigChange, flags: flagVersion}.append(nil)
	n, err := unix.SendmsgN(c.fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == nil && n == len(p) {
		return nil
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("backend channel is full: %w", err)
	}
	closeFD(c.fd)
	c.fd = -1
	return fmt.Errorf("backend channel, %d of %d bytes sent: %w", n, len(p), err)
}
