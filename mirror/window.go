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
	progress time.Time // when credit last came, or something was posted while nothing was in flight
	carried  uint64    // bytes of content that the kernel carried
	read     uint64    // and that were read here
}

// flight is a frame that was posted, and what it is made of.
type flight struct {
	size int
	disk int
	of   *Batch
	last bool // of the batch: it waits for this one to arrive

	end uint64 // the byte at which it ends
	at  time.Time
}

// land ends a flight.
func (f flight) land(arrived bool) {
	if f.last {
		f.of.Release(arrived)
	}
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

// post notes that a frame, whose bytes are reserved, is sent now; it lands when it arrived, or will not
// arrive any more. It returns false if it is too late for that.
func (w *window) post(f flight) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	f.at = time.Now()
	if w.posted == w.credited {
		w.progress = f.at
	}
	w.posted += uint64(f.size)
	f.end = w.posted
	w.flying = append(w.flying, f)
	return true
}

// credit takes the receiver's word that it has total bytes since the beginning.
func (w *window) credit(total uint64) error {
	landed, err := w.land(total)
	for _, f := range landed {
		f.land(true)
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
		w.progress = time.Now()
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
		f.land(false)
	}
}

// stalled says whether something is in flight and nothing arrived for a time.
func (w *window) stalled(timeout time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.posted != w.credited && time.Since(w.progress) >= timeout
}

// damaged finds a frame in flight by what it holds, and says what is wrong with it at its source; nil:
// nothing.
func (w *window) damaged(disk int, off, n int64) error {
	w.mu.Lock()
	var batches []*Batch
	for _, f := range w.flying {
		if f.disk == disk && f.of.Verify != nil && f.of.holds(off) {
			batches = append(batches, f.of)
		}
	}
	w.mu.Unlock()
	for _, b := range batches { // the session is about to end: they are not released meanwhile
		if err := b.Verify(off, n); err != nil {
			return err
		}
	}
	return nil
}

// moved counts content by the way that it went.
func (w *window) moved(n int64, carried bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if carried {
		w.carried += uint64(n)
	} else {
		w.read += uint64(n)
	}
}

// Stats is what a primary's session sent.
type Stats struct {
	Sent     uint64        // bytes of epochs and synchronisation, headers included
	Carried  uint64        // bytes of content that the kernel took from the data file to the socket
	Read     uint64        // bytes of content that were read and written here
	InFlight uint64        // of these, what the secondary did not take yet
	Lag      time.Duration // how long ago the oldest of that was sent
}

func (w *window) stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{Sent: w.posted, Carried: w.carried, Read: w.read, InFlight: w.posted - w.credited}
	if len(w.flying) > 0 {
		s.Lag = time.Since(w.flying[0].at)
	}
	return s
}
