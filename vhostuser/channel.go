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

// configSeen remembers the config space as a front end last read it. It outlives sessions,
// because a front end that reconnects does not read the config again.
type configSeen struct {
	mu     sync.Mutex
	valid  bool
	offset uint32
	bytes  []byte
	told   bool // the difference was announced since the rings were last enabled
}

func (c *configSeen) note(offset uint32, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.valid, c.offset, c.bytes, c.told = true, offset, append(c.bytes[:0], p...), false
}

// forget makes the next enabled ring compare again.
func (c *configSeen) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = false
}

// stale reports, once until forget or note, whether the front end must read the config space
// again. One that never read it here may have read it from a server that died since.
func (c *configSeen) stale(dev Device) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told {
		return false
	}
	c.told = true
	if !c.valid {
		return true
	}
	now := make([]byte, len(c.bytes))
	return dev.ReadConfig(now, c.offset) == nil && string(now) != string(c.bytes)
}
