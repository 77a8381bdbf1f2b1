package checkpoint

import (
	"testing"
	"time"
)

// TestCloseDuringBackgroundWork closes a store whose background work waits for the admin lock.
// (Close held it and waited for the background.)
func TestCloseDuringBackgroundWork(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 1 << 20}), Options{})
	s.admin.Lock()
	s.mu.Lock()
	s.wantSnapshot()
	s.mu.Unlock()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	s.admin.Unlock()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the store does not close")
	}
}
