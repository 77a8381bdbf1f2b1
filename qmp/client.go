package qmp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Sockets are the paths of one or two Unix sockets on which one QEMU serves QMP.
type Sockets struct {
	Link    string
	Monitor string // empty: everything goes over the Link
}

// ParseSockets reads "Q" or "Q,Q2", as --qmp takes it.
func ParseSockets(s string) (Sockets, error) {
	link, monitor, two := strings.Cut(s, ",")
	switch {
	case link == "" || two && monitor == "":
		return Sockets{}, fmt.Errorf("%w: %q: an empty path", ErrSockets, s)
	case strings.Contains(monitor, ","):
		return Sockets{}, fmt.Errorf("%w: %q: more than two", ErrSockets, s)
	case link == monitor:
		return Sockets{}, fmt.Errorf("%w: %q: one path twice; QEMU serves one client on each", ErrSockets, s)
	}
	return Sockets{link, monitor}, nil
}

func (s Sockets) String() string {
	if s.Monitor == "" {
		return s.Link
	}
	return s.Link + "," + s.Monitor
}

// Client is one QEMU's life as seen through its monitors: events and out-of-band commands over a
// Link, ordinary commands over a Monitor if there is one. It ends with its Link. A Monitor
// that dies, by a command that QEMU was too busy for, does not end it, since the Link's events must
// have no gap: from then on everything goes over the Link.
type Client struct {
	link    *Link
	monitor *Monitor // may be nil
	ended   sync.WaitGroup
}

// Dial connects to all sockets, within ctx's deadline (DefaultTimeout if it has none).
func Dial(ctx context.Context, s Sockets) (*Client, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	link, err := DialLink(ctx, s.Link)
	if err != nil {
		return nil, err
	}
	c := &Client{link: link}
	if s.Monitor == "" {
		return c, nil
	}
	c.monitor, err = DialMonitor(ctx, s.Monitor)
	if err == nil {
		err = sameQEMU(s, link.PID(), c.monitor.PID())
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	c.ended.Go(func() {
		<-link.Done()
		c.monitor.fail(fmt.Errorf("with it: %w", link.Err()))
	})
	return c, nil
}

// sameQEMU refuses the sockets of two QEMUs, as they come about where both sides of a pair run
// on one machine.
func sameQEMU(s Sockets, link, monitor int) error {
	if link != monitor && link != 0 && monitor != 0 {
		return fmt.Errorf("%w: %s belongs to process %d, %s to process %d; both have to be one QEMU's",
			ErrSockets, s.Link, link, s.Monitor, monitor)
	}
	return nil
}

// Execute runs an ordinary command over the Monitor, or over the Link if there is none or
// the answer may be large. See Link.Execute for its errors. A command that a Monitor
// died of is not repeated: nobody knows whether QEMU executed it.
func (c *Client) Execute(ctx context.Context, command string, args, out any) error {
	if c.monitor != nil && c.monitor.Err() == nil && !Large(command) {
		return c.monitor.Execute(ctx, command, args, out)
	}
	return c.link.Execute(ctx, command, args, out)
}

// ExecuteOOB runs a command out of band, over the Link.
func (c *Client) ExecuteOOB(ctx context.Context, command string, args, out any) error {
	return c.link.ExecuteOOB(ctx, command, args, out)
}

// Next is Link.Next.
func (c *Client) Next(ctx context.Context) (Event, error) { return c.link.Next(ctx) }

// Barrier is Link.Barrier.
func (c *Client) Barrier(ctx context.Context) (mark uint64, err error) { return c.link.Barrier(ctx) }

// Drain is Link.Drain.
func (c *Client) Drain(ctx context.Context) ([]Event, error) { return c.link.Drain(ctx) }

// Version is QEMU's.
func (c *Client) Version() Version { return c.link.Version() }

// OOB reports whether the Link takes commands out of band.
func (c *Client) OOB() bool { return c.link.OOB() }

// PID is QEMU's process, 0 if that is unknown. See Link.PID.
func (c *Client) PID() int { return c.link.PID() }

// Done is closed when the Client has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.link.Done() }

// Err is the cause of the Client's end, nil while it lives. See Link.Err.
func (c *Client) Err() error { return c.link.Err() }

// MonitorErr is why ordinary commands go over the Link although there was a Monitor, or nil.
func (c *Client) MonitorErr() error {
	if c.monitor == nil {
		return nil
	}
	return c.monitor.Err()
}

// Close ends the Client and waits for its goroutines.
func (c *Client) Close() error {
	var err error
	if c.monitor != nil {
		err = c.monitor.Close()
	}
	err = errors.Join(err, c.link.Close())
	c.ended.Wait()
	return err
}
