package pair

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belay-vm/belay/qmp"
)

// Recorder keeps all events of one QEMU, from when it was connected. Its methods may be called
// by any goroutine.
type Recorder struct {
	link *qmp.Link

	mu      sync.Mutex
	events  []qmp.Event
	arrived chan struct{} // closed and replaced at each event, and at the end
	err     error         // why there are no more
}

func newRecorder(ctx context.Context, socket string) (*Recorder, error) {
	link, err := qmp.DialLink(ctx, socket)
	if err != nil {
		return nil, err
	}
	r := &Recorder{link: link, arrived: make(chan struct{})}
	go r.record()
	return r, nil
}

// record ends with the link, which ends with QEMU.
func (r *Recorder) record() {
	for {
		e, err := r.link.Next(context.Background())
		r.mu.Lock()
		if err != nil {
			r.err = err
		} else {
			r.events = append(r.events, e)
		}
		close(r.arrived)
		r.arrived = make(chan struct{})
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Link is the connection, for commands that a test gives by itself, out of band too.
func (r *Recorder) Link() *qmp.Link { return r.link }

// All is a copy of what came so far.
func (r *Recorder) All() []qmp.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Len is how many events came so far: a mark from which Await can start.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// Await waits for an event of that name, not before mark, and returns the mark behind it.
func (r *Recorder) Await(ctx context.Context, mark int, name string) (int, error) {
	for {
		r.mu.Lock()
		events, arrived, err := r.events[mark:], r.arrived, r.err
		r.mu.Unlock()
		i := slices.IndexFunc(events, func(e qmp.Event) bool { return e.Name == name })
		if i >= 0 {
			return mark + i + 1, nil
		}
		if err != nil {
			return 0, fmt.Errorf("waiting for %s: %w", name, err)
		}
		mark += len(events)
		select {
		case <-arrived:
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for %s: %w; events: %s", name, ctx.Err(), r.tail())
		}
	}
}

// tail is the newest events' names, for error texts.
func (r *Recorder) tail() string {
	var names []string
	events := r.All()
	for _, e := range events[max(0, len(events)-12):] {
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

// spans are the times from each STOP to its RESUME.
func (r *Recorder) spans() []span {
	var all []span
	var stopped time.Time
	for _, e := range r.All() {
		switch {
		case e.Name == qmp.EventStop:
			stopped = e.At
		case e.Name == qmp.EventResume && !stopped.IsZero():
			all = append(all, span{stopped, e.At})
			stopped = time.Time{}
		}
	}
	return all
}
