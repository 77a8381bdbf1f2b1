package qmp

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/belay-vm/belay/qmp/qmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is a deadline that no test is meant to reach.
func long(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dialLink(t *testing.T, s *qmptest.Server) *Link {
	t.Helper()
	l, err := DialLink(long(t), s.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.Arrived()
	return l
}

func dialMonitor(t *testing.T, s *qmptest.Server) *Monitor {
	t.Helper()
	m, err := DialMonitor(long(t), s.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	s.Arrived()
	return m
}

// hold makes a command wait in QEMU's main loop until the returned function is called.
func hold(t *testing.T, s *qmptest.Server, command string) (release func()) {
	t.Helper()
	held := make(chan struct{})
	s.Handle(command, func(c qmptest.Call) (any, *qmptest.Error) {
		select {
		case <-held:
		case <-c.Done:
		}
		return map[string]string{"was": command}, nil
	})
	return func() { close(held) }
}

// called waits until the command has come.
func called(t *testing.T, s *qmptest.Server, command string) {
	t.Helper()
	for {
		select {
		case c := <-s.Calls():
			if c.Command == command {
				return
			}
		case <-long(t).Done():
			t.Fatalf("%s did not come", command)
		}
	}
}

// start runs a command on its own goroutine.
func start(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func wantError(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("error %v; want one that is %v", err, w)
		}
	}
}

func next(t *testing.T, l interface {
	Next(context.Context) (Event, error)
}) Event {
	t.Helper()
	e, err := l.Next(long(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}
