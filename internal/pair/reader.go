package pair

import (
	"sync"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// viewIdle is how long a past state stays open after it was read. While it is open its point is not
// released, so that a comparison may take longer than a checkpoint lasts.
const viewIdle = 10 * time.Second

// reader shows past states of the disks.
type reader struct {
	disks []*volume

	mu     sync.Mutex
	views  map[viewOf]*pastView
	closed bool
}

type viewOf struct {
	disk int
	at   mirror.Mark
}

type pastView struct {
	*checkpoint.View
	users int
	idle  *time.Timer
}

func newReader(disks []*volume) *reader { return &reader{disks: disks, views: map[viewOf]*pastView{}} }

// ReadMark reads from the point of a mark.
func (r *reader) ReadMark(at mirror.Mark, disk int, p []byte, off int64) error {
	key := viewOf{disk, at}
	v, err := r.open(key)
	if err != nil {
		return err
	}
	defer r.done(key, v)
	_, err = v.ReadAt(p, off)
	return err
}

func (r *reader) open(key viewOf) (*pastView, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, mirror.ErrClosed
	}
	v := r.views[key]
	if v == nil {
		point, ok := r.disks[key.disk].find(key.at)
		if !ok {
			return nil, mirror.ErrUnknownMark
		}
		view, err := r.disks[key.disk].View(point)
		if err != nil {
			return nil, err
		}
		v = &pastView{View: view}
		v.idle = time.AfterFunc(viewIdle, func() { r.expire(key) })
		r.views[key] = v
	}
	v.users++
	v.idle.Stop()
	return v, nil
}

func (r *reader) done(key viewOf, v *pastView) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.users--; v.users == 0 {
		v.idle.Reset(viewIdle)
	}
	if r.closed {
		r.drop(key)
	}
}

func (r *reader) expire(key viewOf) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(key)
}

// drop closes a view that nobody reads. The mutex is held.
func (r *reader) drop(key viewOf) {
	if v := r.views[key]; v != nil && v.users == 0 {
		v.idle.Stop()
		_ = v.Close() // it only reads
		delete(r.views, key)
	}
}

// close ends all views; those that are being read when that ends.
func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for key := range r.views {
		r.drop(key)
	}
}
