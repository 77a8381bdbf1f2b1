package mirror

import "sync"

// queue holds what was read and not yet applied. The reader never waits for it: that the peer keeps
// to the window bounds it.
type queue struct {
	limit int // bytes of frames with content

	mu    sync.Mutex
	list  []frame
	bytes int           // of those with content
	other int           // how many there are without
	err   error         // the end, behind everything in list
	wake  chan struct{} // a token: look again
}

// maxQueued bounds frames without content, of which a correct peer has a handful under way.
const maxQueued = 256

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

func (q *queue) put(f frame) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if rows[f.kind].bulk {
		q.bytes += f.size()
	} else {
		q.other++
	}
	if q.bytes > q.limit || q.other > maxQueued {
		f.bulk.free()
		return &FrameError{f.kind, "bytes in flight", uint64(q.bytes), ErrWindow}
	}
	q.list = append(q.list, f)
	q.signal()
	return nil
}

// end says that nothing more comes.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a frame, or returns what end was told, or ErrClosed when the session stops.
func (q *queue) next(stop <-chan struct{}) (frame, error) {
	for {
		select {
		case <-stop:
			return frame{}, ErrClosed
		default:
		}
		if f, ok, err := q.poll(); ok || err != nil {
			return f, err
		}
		select {
		case <-q.wake:
		case <-stop:
		}
	}
}

func (q *queue) poll() (frame, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return frame{}, false, q.err
	}
	f := q.list[0]
	if !rows[f.kind].bulk {
		q.other--
	}
	q.list[0] = frame{}
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil
	}
	return f, true, nil
}

// took makes room for n bytes.
func (q *queue) took(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= n
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list) == 0
}
