package checkpoint

import (
	"errors"
	"testing"
)

// TestWriteToStoppedJournal writes between the failure of the journal and that of the store,
// which a flush round notes one after the other. (The process ended.)
func TestWriteToStoppedJournal(t *testing.T) {
	s := open(t, newVolume(t, CreateOptions{Size: 1 << 20, JournalSize: 1 << 20}), Options{})
	s.journal.mu.Lock()
	_ = s.journal.fail(errors.New("broken on purpose"))
	s.journal.mu.Unlock()
	for range 2 {
		if _, err := s.WriteAt(make([]byte, 4096), 0); !errors.Is(err, ErrPoisoned) {
			t.Fatal(err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrPoisoned) {
		t.Fatal(err)
	}
}
