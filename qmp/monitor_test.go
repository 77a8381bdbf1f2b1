package qmp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/belay-vm/belay/qmp/qmptest"
)

// The cases in which go-qemu alone hangs, dies silently or loses something, one by one. Each
// command of these tests would hang for ever if its case were not caught.

func TestMonitorRunsCommands(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	m := dialMonitor(t, s)
	var status Status
	if err := m.Execute(long(t), "query-status", nil, &status); err != nil || status.Status != "paused" {
		t.Fatalf("status %+v, %v", status, err)
	}
	if err := m.Execute(long(t), "cont", nil, nil); err != nil {
		t.Fatal(err)
	}
	if c := <-s.Calls(); c.ID != nil || c.OOB {
		t.Errorf("sent %+v", c)
	}
}

func TestMonitorIsNotHeldUpByEvents(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	m := dialMonitor(t, s)
	for range 20 {
		for range 500 {
			s.Event("STOP", nil)
		}
		if err := m.Execute(long(t), "cont", nil, nil); err != nil { // raises some itself
			t.Fatal(err)
		}
	}
}

// go-qemu hands out its read buffer, and what comes next overwrites it.
func TestMonitorAnswersAreNotOverwritten(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	s.Handle("echo", func(c qmptest.Call) (any, *qmptest.Error) {
		go s.Event("STOP", strings.Repeat("x", 3000))
		return c.Args, nil
	})
	m := dialMonitor(t, s)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			var out number
			if err := m.Execute(long(t), "echo", number{i}, &out); err != nil || out.N != i {
				t.Errorf("sent %d, got %d, %v", i, out.N, err)
			}
		})
	}
	all.Wait()
}

func TestMonitorKeepsTheClassOfErrors(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	s.Handle("silly", func(qmptest.Call) (any, *qmptest.Error) {
		return nil, &qmptest.Error{Class: ClassGeneric} // without a sentence: go-qemu takes it for success
	})
	m := dialMonitor(t, s)
	if err := m.Execute(long(t), "nope", nil, nil); !Unknown(err) {
		t.Errorf("unknown command: %v", err)
	}
	var refused *CommandError
	if err := m.Execute(long(t), "silly", nil, nil); !errors.As(err, &refused) || refused.Class != ClassGeneric {
		t.Errorf("silly error: %v", err)
	}
	if err := m.Execute(long(t), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestMonitorSendsNoBadJSON(t *testing.T) {
	m := dialMonitor(t, qmptest.New(t, qmptest.Config{}))
	if err := m.Execute(long(t), "stop", make(chan int), nil); err == nil {
		t.Error("arguments that are no JSON were sent")
	}
	if err := m.Execute(long(t), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
}

// A QEMU that hangs: the deadline ends the command and the Monitor, all that wait, and
// all that come.
func TestMonitorDiesOfADeadline(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	defer release()
	m := dialMonitor(t, s)
	ctx, cancel := context.WithCancel(long(t))
	stopped := start(func() error { return m.Execute(ctx, "stop", nil, nil) })
	called(t, s, "stop")
	behind := start(func() error { return m.Execute(long(t), "query-status", nil, nil) })
	cancel()
	wantError(t, <-stopped, ErrTimeout, context.Canceled)
	wantError(t, <-behind, ErrTimeout)
	<-m.Done()
	wantError(t, m.Execute(long(t), "query-status", nil, nil), ErrTimeout)
	wantError(t, m.Err(), ErrTimeout)
}

// A command that was not sent is not a fault.
func TestMonitorOutlivesWhatWasNotSent(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	m := dialMonitor(t, s)
	ctx, cancel := context.WithCancel(long(t))
	cancel()
	wantError(t, m.Execute(ctx, "cont", nil, nil), context.Canceled)
	stopped := start(func() error { return m.Execute(long(t), "stop", nil, nil) })
	called(t, s, "stop")
	ctx, cancel = context.WithCancel(long(t))
	behind := start(func() error { return m.Execute(ctx, "cont", nil, nil) })
	cancel()
	wantError(t, <-behind, context.Canceled)
	release()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if m.Err() != nil || len(s.Calls()) != 0 {
		t.Errorf("%v, %d commands were sent", m.Err(), len(s.Calls()))
	}
}

func TestMonitorNoticesTheEnd(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		s := qmptest.New(t, qmptest.Config{})
		m := dialMonitor(t, s)
		s.Close()
		<-m.Done()
		wantError(t, m.Err(), ErrGone)
		wantError(t, m.Execute(long(t), "stop", nil, nil), ErrGone)
	})
	t.Run("in a command", func(t *testing.T) {
		s := qmptest.New(t, qmptest.Config{})
		release := hold(t, s, "stop")
		defer release()
		m := dialMonitor(t, s)
		stopped := start(func() error { return m.Execute(long(t), "stop", nil, nil) })
		called(t, s, "stop")
		s.Cut()
		wantError(t, <-stopped, ErrGone)
	})
	t.Run("in an answer", func(t *testing.T) {
		s := qmptest.New(t, qmptest.Config{})
		s.Handle("stop", func(qmptest.Call) (any, *qmptest.Error) {
			s.Raw(`{"return": {}}`)
			s.Cut()
			return qmptest.Silence, nil
		})
		m := dialMonitor(t, s)
		wantError(t, m.Execute(long(t), "stop", nil, nil), ErrGone)
	})
}

func TestMonitorAndLongAnswers(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	var size int
	s.Handle("long", func(qmptest.Call) (any, *qmptest.Error) { return strings.Repeat("x", size), nil })
	m := dialMonitor(t, s)
	wantError(t, m.Execute(long(t), "query-qmp-schema", nil, nil), ErrLarge)
	if len(s.Calls()) != 0 {
		t.Error("it was sent")
	}
	size = maxReply - len(`{"return":""}`)
	var out string
	if err := m.Execute(long(t), "long", nil, &out); err != nil || len(out) != size {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	size = 64 << 10
	wantError(t, m.Execute(long(t), "long", nil, &out), ErrFault)
	<-m.Done()
	wantError(t, m.Execute(long(t), "query-status", nil, nil), ErrFault)
}

func TestMonitorEndsOnFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := qmptest.New(t, qmptest.Config{})
			m := dialMonitor(t, s)
			s.Raw(f.line)
			<-m.Done()
			wantError(t, m.Err(), f.want)
			wantError(t, m.Execute(long(t), "stop", nil, nil), f.want)
		})
	}
	t.Run("answer with a number for an id", func(t *testing.T) {
		s := qmptest.New(t, qmptest.Config{})
		s.Handle("stop", func(qmptest.Call) (any, *qmptest.Error) {
			s.Raw(`{"return": {}, "id": 5}` + "\n")
			return qmptest.Silence, nil
		})
		m := dialMonitor(t, s)
		wantError(t, m.Execute(long(t), "stop", nil, nil), ErrFault)
	})
}

func TestMonitorNegotiationRefused(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{Greeting: `{"QMP": {}}` + "\n" +
		`{"error": {"class": "GenericError", "desc": "no"}}` + "\n"})
	if _, err := DialMonitor(long(t), s.Path()); err == nil {
		t.Error("no error")
	}
	if _, err := DialLink(long(t), s.Path()); err == nil {
		t.Error("no error")
	}
}

func TestMonitorClose(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	defer release()
	m := dialMonitor(t, s)
	stopped := start(func() error { return m.Execute(long(t), "stop", nil, nil) })
	called(t, s, "stop")
	_ = m.Close()
	_ = m.Close()
	wantError(t, <-stopped, ErrClosed)
}
