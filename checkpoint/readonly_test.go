package checkpoint

import (
	"testing"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

// A volume that is served for reading only is flushed like any other, by guests that mount it
// and by whoever closes it: there is nothing to write for it, and its journal cannot be written.
func TestFlushReadOnly(t *testing.T) {
	dir := newVolume(t, CreateOptions{Size: 1 << 20})
	s := open(t, dir, Options{})
	mustWrite(t, s, pattern(make([]byte, 8192), 1), 4096)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{ReadOnly: true})
	r := newAllocRigOn(t, s, aio.Inline, 2)
	for i := range r.requests {
		q := &r.requests[i]
		q.Op, q.Len, q.Iov = bio.Flush, 0, nil
		r.lane.Submit(q)
	}
	r.lane.Dispatch()
	r.done = r.lane.Settle(r.done)
	if len(r.done) != len(r.requests) {
		t.Fatalf("%d of %d flushes are done at once", len(r.done), len(r.requests))
	}
	for _, d := range r.done {
		if d.Err != nil {
			t.Errorf("flush: %v", d.Err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}
