package qmp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Watcher tries to connect at growing intervals: QEMU may be about to start, or not come
// for days. One attempt has dialTimeout for all sockets.
const (
	firstPause  = 20 * time.Millisecond
	longPause   = time.Second
	dialTimeout = 5 * time.Second
)

// Watcher keeps a Client to whatever QEMU serves the sockets, through ends and restarts.
type Watcher struct {
	sockets Sockets
	dial    func(context.Context, Sockets) (*Client, error)
	events  chan Event

	mu     sync.Mutex
	client *Client // nil while none is connected
	cause  error   // of the last attempt's failure, or of the last client's end
}

// Watch begins to watch, until ctx ends.
func Watch(ctx context.Context, s Sockets) *Watcher { return watch(ctx, s, Dial) }

func watch(ctx context.Context, s Sockets, dial func(context.Context, Sockets) (*Client, error)) *Watcher {
	w := &Watcher{sockets: s, dial: dial, events: make(chan Event)}
	go w.run(ctx)
	return w
}

// Events is the one stream of what happens: EventConnected, the events of that connection
// in order, all of them up to EventLost, and so on. It is for one taker, who must go on taking:
// a connection whose events pile up is closed (ErrNotTaken). The channel is closed when ctx has ended,
// or the sockets turn out to be unusable (ErrNotQMP, ErrSockets): see Err.
func (w *Watcher) Events() <-chan Event { return w.events }

// Client is the one that is connected, or an error that wraps ErrNoQEMU and says why there is none.
// A Client that is returned may end at any time.
func (w *Watcher) Client() (*Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == nil {
		if w.cause == nil {
			return nil, ErrNoQEMU
		}
		return nil, fmt.Errorf("%w: %w", ErrNoQEMU, w.cause)
	}
	return w.client, nil
}

// Err says why no Client is connected: the last failure to connect, or the end of the last one;
// nil while one is, or before the first attempt.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

func (w *Watcher) set(c *Client, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client, w.cause = c, cause
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.events)
	for {
		c, err := w.connect(ctx)
		if err != nil {
			w.set(nil, err)
			return
		}
		w.set(c, nil)
		cause := w.follow(ctx, c)
		_ = c.Close()
		w.set(nil, cause)
		if !w.tell(ctx, Event{Name: EventLost, Cause: cause}) {
			return
		}
	}
}

// connect tries until it has a Client; an error is final.
func (w *Watcher) connect(ctx context.Context) (*Client, error) {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		attempt, cancel := context.WithTimeout(ctx, dialTimeout)
		c, err := w.dial(attempt, w.sockets)
		cancel()
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, ErrNotQMP), errors.Is(err, ErrSockets):
			return nil, err
		}
		w.set(nil, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// follow passes a Client's events on until its end, or that of ctx, and returns the cause.
func (w *Watcher) follow(ctx context.Context, c *Client) error {
	if !w.tell(ctx, Event{Name: EventConnected, Client: c}) {
		return ctx.Err()
	}
	for {
		e, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if !w.tell(ctx, e) {
			return ctx.Err()
		}
	}
}

// tell waits for the taker; false says that ctx has ended.
func (w *Watcher) tell(ctx context.Context, e Event) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case w.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
