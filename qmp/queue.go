package qmp

import (
	"context"
	"fmt"
	"sync"
)

// What a queue holds at most. QEMU's events are small and rare: more than this means that
// nobody takes them, and the reader must not wait, since answers come behind events.
const (
	maxQueued      = 16384
	maxQueuedBytes = 8 << 20
)

// queue hands events from a connection's reader to its taker, in order, without making
// the reader wait.
type queue struct {
	mu     sync.Mutex
	events []Event
	bytes  int   // of the events' data
	ended  error // nothing comes any more, and why
	news   chan struct{}
}

func newQueue() *queue {
	return &queue{news: make(chan struct{}, 1)}
}

// put fails if the queue is full, and does nothing once it has ended.
func (q *queue) put(e Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		return nil
	}
	n := len(e.Data) + len(e.Name)
	if len(q.events) == maxQueued || q.bytes+n > maxQueuedBytes {
		return fmt.Errorf("%w: %d of them wait", ErrNotTaken, len(q.events))
	}
	q.events = append(q.events, e)
	q.bytes += n
	q.tell()
	return nil
}

// end makes take return cause behind the last event. Only the first call counts.
func (q *queue) end(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended == nil {
		q.ended = cause
	}
	q.tell()
}

// tell wakes one taker, now or when it comes.
func (q *queue) tell() {
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// take waits for the next event, for the end, or for ctx.
func (q *queue) take(ctx context.Context) (Event, error) {
	for {
		if e, ok, err := q.try(); ok || err != nil {
			return e, err
		}
		select {
		case <-q.news:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// try takes an event if there is one; an error says that none comes any more.
func (q *queue) try() (Event, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		if q.ended != nil {
			q.tell() // for the next taker
		}
		return Event{}, false, q.ended
	}
	e := q.events[0]
	q.events[0] = Event{} // not to be kept by what is in front of the slice
	q.events = q.events[1:]
	q.bytes -= len(e.Data) + len(e.Name)
	if len(q.events) > 0 {
		q.tell()
	}
	return e, true, nil
}
