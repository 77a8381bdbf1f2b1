package mirror

import (
	"sync"
	"time"
)

// window is the sender's account of what is in flight. Bytes are reserved before a frame is sent,
// posted when it is its turn, and credited by the receiver, in the order of posting.
type window struct {
	mu       sync.Mutex
	limit    uint64
	reserved uint64
	posted   uint64
	credited uint64
	freed    chan struct{} // closed when there is room again
	flying   []flight
	closed   bool      // nothing arrives any more
	moved    time.Time // when credit last came, or something was posted while nothing was in flight
}

// flight is a frame that was posted: at which byte it ends, and what waits for it to arrive.
type flight struct {
	end     uint64
	at      time.Time
	release func(arrived bool)
}

func newWindow(limit int) *window {
	return &window{limit: uint64(limit), freed: make(chan struct{})}
}

// reserve waits until n bytes, at most the limit, may be sent. It returns false if stop is closed
// before.
func (w *window) reserve(n int, stop <-chan struct{}) bool {
	for {
		w.mu.Lock()
		if w.reserved-w.credited+uint64(n) <= w.limit {
			w.reserved += uint64(n)
			w.mu.Unlock()
			return true
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-stop:
			return false
		}
	}
}

// post notes that n reserved bytes are sent now; release, if any, is called when they arrived, or will
// not arrive any more. It returns false if it is too late for that.
func (w *window) post(n int, release func(arrived bool)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	now := time.Now()
	if w.posted == w.credited {
		w.moved = now
	}
	w.posted += uint64(n)
	w.flying = append(w.flying, flight{w.posted, now, release})
	return true
}

// credit takes the receiver's word that it has total bytes since the beginning.
func (w *window) credit(total uint64) error {
	landed, err := w.land(total)
	for _, f := range landed {
		if f.release != nil {
			f.release(true)
		}
	}
	return err
}

func (w *window) land(total uint64) ([]flight, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if total < w.credited || total > w.posted {
		return nil, &FrameError{kindCredit, "total", total, ErrWindow}
	}
	if total > w.credited {
		w.moved = time.Now()
		close(w.freed)
		w.freed = make(chan struct{})
	}
	w.credited = total
	n := 0
	for n < len(w.flying) && w.flying[n].end <= total {
		n++
	}
	landed := w.flying[:n:n]
	w.flying = w.flying[n:]
	if len(w.flying) == 0 {
		w.flying = nil
	}
	return landed, nil
}

// abandon releases what will not arrive any more.
func (w *window) abandon() {
	w.mu.Lock()
	flying := w.flying
	w.flying, w.closed = nil, true
	w.mu.Unlock()
	for _, f := range flying {
		if f.release != nil {
			f.release(false)
		}
	}
}

// stalled says whether something is in flight and nothing arrived for a time.
func (w *window) stalled(timeout time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.posted != w.credited && time.Since(w.moved) >= timeout
}

// Stats is what a primary's session sent.
type Stats struct {
	Sent     uint64        // bytes of epochs and synchronisation, headers included
	InFlight uint64        // of these, what the secondary did not take yet
	Lag      time.Duration // how long ago the oldest of that was sent
}

func (w *window) stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{Sent: w.posted, InFlight: w.posted - w.credited}
	if len(w.flying) > 0 {
		s.Lag = time.Since(w.flying[0].at)
	}
	return s
}
