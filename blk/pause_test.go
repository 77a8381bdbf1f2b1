package blk

import (
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// A pause waits for what is in flight, and nothing is taken before it is over.
func TestPause(t *testing.T) {
	s, d := gated(t)
	paused := make(chan struct{})
	go func() {
		s.dev.Pause()
		close(paused)
	}()
	select {
	case <-paused:
		t.Fatal("paused with a request in flight")
	case <-time.After(20 * time.Millisecond):
	}
	close(s.store.gate)
	<-paused
	done, err := d.Reap(nil)
	if err != nil || len(done) != 1 {
		t.Fatalf("%d requests shown when the device is still, error %v", len(done), err)
	}
	d.Put(done[0])
	answered := make(chan error, 1)
	go func() { answered <- d.Read(0, make([]byte, 512)) }()
	select {
	case err := <-answered:
		t.Fatal("served in a pause:", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.dev.Resume()
	must(t, <-answered)
}

// A ring can be stopped and started in a pause, and is still from the beginning.
func TestStopInPause(t *testing.T) {
	eachEngine(t, Options{Queues: 2}, vhosttest.Options{Queues: 2}, func(t *testing.T, s *served) {
		s.dev.Pause()
		must(t, s.Stop())
		must(t, s.Start())
		s.dev.Pause() // again: of what started meanwhile
		s.dev.Resume()
		must(t, s.disk(t, 1, 1, 512).Read(0, make([]byte, 512)))
	})
}

// Pauses under load lose nothing.
func TestPausesUnderLoad(t *testing.T) {
	s := serve(t, newFileStore(t, diskSize, true), Options{Engine: aio.Inline}, vhosttest.Options{})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				s.dev.Pause()
				s.dev.Resume()
			}
		}
	}()
	l := newLoad(t, s.disk(t, 0, 16, 4096), 0, 64)
	l.run(2000, true)
	l.drain()
	close(stop)
	<-ended
}
