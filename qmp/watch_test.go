package qmp

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-vm/belay/qmp/qmptest"
)

func take(t *testing.T, w *Watcher, name string) Event {
	t.Helper()
	select {
	case e := <-w.Events():
		if e.Name != name {
			t.Fatalf("event %+v, want %s", e, name)
		}
		return e
	case <-long(t).Done():
		t.Fatalf("no %s: %v", name, w.Err())
	}
	return Event{}
}

// stopWatching ends a watcher and waits for it.
func stopWatching(t *testing.T, w *Watcher, cancel func()) {
	t.Helper()
	cancel()
	for range w.Events() {
	}
}

func TestWatchThroughRestarts(t *testing.T) {
	path := t.TempDir() + "/qmp.sock"
	ctx, cancel := context.WithCancel(t.Context())
	w := Watch(ctx, Sockets{Link: path})
	defer stopWatching(t, w, cancel)
	if _, err := w.Client(); !errors.Is(err, ErrNoQEMU) {
		t.Errorf("a client of nothing: %v", err)
	}
	for range 3 {
		s := qmptest.New(t, qmptest.Config{Path: path})
		c := take(t, w, EventConnected).Client
		if got, err := w.Client(); got != c || err != nil {
			t.Errorf("client %p, %v; want %p", got, err, c)
		}
		if err := c.Cont(long(t)); err != nil {
			t.Fatal(err)
		}
		s.Event("SHUTDOWN", Shutdown{false, "host-qmp-quit"})
		s.Close()
		take(t, w, EventResume)
		take(t, w, EventShutdown)
		wantError(t, take(t, w, EventLost).Cause, ErrGone)
		wantError(t, c.Err(), ErrGone)
		_, err := w.Client()
		wantError(t, err, ErrNoQEMU)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	w := Watch(ctx, Sockets{Link: s.Path()})
	c := take(t, w, EventConnected).Client
	stopWatching(t, w, cancel)
	if c.Err() == nil {
		t.Error("the client lives on")
	}
}

func TestWatchGivesUpWhatIsNotQMP(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{Greeting: "SSH-2.0-OpenSSH_9.2\r\n"})
	w := Watch(t.Context(), Sockets{Link: s.Path()})
	if e, ok := <-w.Events(); ok {
		t.Errorf("event %+v", e)
	}
	wantError(t, w.Err(), ErrNotQMP)
	_, err := w.Client()
	wantError(t, err, ErrNoQEMU, ErrNotQMP)
}

// Pauses grow to a second and begin anew after each connection.
func TestWatchPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var attempts []time.Time
		const failures = 10
		dial := func(context.Context, Sockets) (*Client, error) {
			attempts = append(attempts, time.Now())
			if len(attempts)%failures != 0 {
				return nil, errors.New("not there")
			}
			return pipeClient(ctx)
		}
		w := watch(ctx, Sockets{}, dial)
		for range 2 {
			c := take(t, w, EventConnected).Client
			_ = c.link.conn.Close()
			take(t, w, EventLost)
		}
		stopWatching(t, w, cancel)
		first := []time.Duration{0, 20, 60, 140, 300, 620, 1260, 2260, 3260, 4260}
		for i, at := range attempts[:2*failures] {
			at, want := at.Sub(attempts[i-i%failures]), first[i%failures]*time.Millisecond
			if at != want {
				t.Errorf("attempt %d at %v, want %v", i, at, want)
			}
		}
	})
}

// pipeClient is connected to a QEMU that only greets.
func pipeClient(ctx context.Context) (*Client, error) {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = theirs.Write([]byte(`{"QMP": {}}` + "\n"))
		line := make([]byte, 200)
		_, _ = theirs.Read(line)
		_, _ = theirs.Write([]byte(`{"return": {}, "id": 1}` + "\n"))
		_, _ = theirs.Read(line) // until the end
	}()
	l, err := newLink(ctx, ours, "pipe")
	if err != nil {
		return nil, err
	}
	return &Client{link: l}, nil
}

// Nothing that was raised before the end is missing, even if nobody takes events any more.
func TestWatchWithoutTaker(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	w := Watch(ctx, Sockets{Link: s.Path()})
	defer stopWatching(t, w, cancel)
	c := take(t, w, EventConnected).Client
	for range maxQueued + 2 { // the Watcher may hold one in its hand
		s.Event("STOP", nil)
	}
	<-c.Done()
	for n := 0; ; n++ {
		e := <-w.Events()
		if e.Name == EventLost {
			wantError(t, e.Cause, ErrNotTaken)
			if n < maxQueued {
				t.Errorf("%d events", n)
			}
			return
		}
	}
}
