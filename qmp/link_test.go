package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-vm/belay/qmp/qmptest"
)

type number struct {
	N int `json:"n"`
}

func TestLinkDeliversEventsInOrder(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	const n = 1000
	for i := range n {
		s.Event("STOP", number{i})
		if i%10 == 0 {
			if err := l.Execute(long(t), "query-status", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		var d number
		e := next(t, l)
		if err := e.Decode(&d); err != nil || e.Name != EventStop || d.N != i {
			t.Fatalf("event %d is %+v, %v", i, e, err)
		}
		if want := time.Unix(1700000000, 250000000); !e.At.Equal(want) {
			t.Fatalf("at %v, want %v", e.At, want)
		}
	}
}

// A barrier is answered while the main loop stands still, and everything before is in front of it.
func TestLinkBarrierPassesAHeldMainLoop(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "x-colo-lost-heartbeat")
	l := dialLink(t, s)
	heartbeat := start(func() error { return l.Execute(long(t), "x-colo-lost-heartbeat", nil, nil) })
	called(t, s, "x-colo-lost-heartbeat")
	s.Event("STOP", nil)
	s.Event("COLO_EXIT", map[string]string{"mode": "secondary", "reason": "error"})
	mark, err := l.Barrier(long(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Event("RESUME", nil)
	var exit ColoExit
	if e := next(t, l); e.Name != EventStop {
		t.Fatalf("first %+v", e)
	}
	if e := next(t, l); e.Decode(&exit) != nil || exit != (ColoExit{ColoSecondary, ColoError}) {
		t.Fatalf("second %+v", e)
	}
	if e := next(t, l); e.Name != EventBarrier || e.Mark != mark {
		t.Fatalf("third %+v, want the barrier %d", e, mark)
	}
	if e := next(t, l); e.Name != EventResume {
		t.Fatalf("fourth %+v", e)
	}
	release()
	if err := <-heartbeat; err != nil {
		t.Error(err)
	}
}

func TestLinkDrain(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	if _, err := l.Barrier(long(t)); err != nil { // somebody else's, which Drain passes over
		t.Fatal(err)
	}
	s.Event("STOP", nil)
	s.Event("RESUME", nil)
	events, err := l.Drain(long(t))
	if err != nil || len(events) != 2 || events[0].Name != EventStop || events[1].Name != EventResume {
		t.Fatalf("drained %+v, %v", events, err)
	}
	if events, err := l.Drain(long(t)); err != nil || len(events) != 0 {
		t.Fatalf("drained %+v, %v", events, err)
	}
}

// A deadline ends the command and nothing else; the answer that comes late is nobody's.
func TestLinkOutlivesADeadline(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	l := dialLink(t, s)
	ctx, cancel := context.WithCancel(long(t))
	stopped := start(func() error { return l.Execute(ctx, "stop", nil, nil) })
	called(t, s, "stop")
	cancel()
	wantError(t, <-stopped, ErrTimeout, context.Canceled)
	release()
	var status Status
	if err := l.Execute(long(t), "query-status", nil, &status); err != nil || status.Status != "paused" {
		t.Fatalf("status %+v, %v", status, err)
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

// Ordinary commands never fill QEMU's queue, behind which out-of-band ones would wait.
func TestLinkKeepsRoomForOOB(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	l := dialLink(t, s)
	var all []<-chan error
	for range maxOrdinary {
		all = append(all, start(func() error { return l.Execute(long(t), "stop", nil, nil) }))
		called(t, s, "stop")
	}
	ctx, cancel := context.WithCancel(long(t))
	fifth := start(func() error { return l.Execute(ctx, "stop", nil, nil) })
	for range 3 {
		if _, err := l.Barrier(long(t)); err != nil {
			t.Fatal(err)
		}
	}
	for len(s.Calls()) > 0 {
		if c := <-s.Calls(); !c.OOB {
			t.Fatalf("%s was sent", c.Command)
		}
	}
	cancel()
	if err := <-fifth; !errors.Is(err, context.Canceled) {
		t.Errorf("the fifth: %v", err)
	}
	release()
	for _, done := range all {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLinkMatchesAnswersById(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	echo := func(c qmptest.Call) (any, *qmptest.Error) { return c.Args, nil }
	s.Handle("ordinary", echo)
	s.Handle("fast", echo)
	s.AllowOOB("fast")
	l := dialLink(t, s)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			run := l.Execute
			name := "ordinary"
			if i%2 == 0 {
				run, name = l.ExecuteOOB, "fast"
			}
			var out number
			if err := run(long(t), name, number{i}, &out); err != nil || out.N != i {
				t.Errorf("sent %d, got %d, %v", i, out.N, err)
			}
		})
	}
	all.Wait()
}

func TestLinkTellsRefusals(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	err := l.Execute(long(t), "x-colo", nil, nil)
	var refused *CommandError
	if !errors.As(err, &refused) || refused.Class != ClassNotFound || refused.Command != "x-colo" ||
		!Unknown(err) {
		t.Errorf("unknown command: %#v", err)
	}
	err = l.ExecuteOOB(long(t), "query-status", nil, nil)
	if !errors.As(err, &refused) || refused.Class != ClassGeneric || Unknown(err) {
		t.Errorf("not out of band: %#v", err)
	}
	if err := l.Execute(long(t), "stop", make(chan int), nil); err == nil {
		t.Error("arguments that are no JSON were sent")
	}
	var wrong int
	if err := l.Execute(long(t), "query-status", nil, &wrong); err == nil {
		t.Error("an object was taken for a number")
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

func TestLinkWithoutOOB(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{NoOOB: true})
	l := dialLink(t, s)
	if l.OOB() {
		t.Error("it claims to have it")
	}
	_, err := l.Barrier(long(t))
	wantError(t, err, ErrNoOOB)
	if err := l.Execute(long(t), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
}

// What a connection cannot recover from, as QEMU would send it, and what it says then.
var faults = []struct {
	name, line string
	want       error
	says       string
}{
	{"no JSON", "hello\n", ErrFault, "hello"},
	{"empty line", "\r\n", ErrFault, ""},
	{"cut JSON", `{"return": {` + "\n", ErrFault, "unexpected end"},
	{"neither", `{"id": 1}` + "\n", ErrFault, "neither"},
	{"both", `{"return": {}, "event": "STOP"}` + "\n", ErrFault, "neither"},
	{"list", `[1]` + "\n", ErrFault, "[1]"},
	{"greeting", `{"QMP": {}}` + "\n", ErrFault, "greeting"},
	{"answer to nothing", `{"return": {}, "id": 77}` + "\n", ErrFault, "no command"},
	{"answer without id", `{"return": {}}` + "\n", ErrFault, "no command"},
	{"answer with a strange id", `{"return": {}, "id": {"a": 1}}` + "\n", ErrFault, "no command"},
	{"unread command", `{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n",
		ErrFault, "JSON parse error"},
	{"long id", `{"return": {}, "id": "` + strings.Repeat("x", maxID) + `"}` + "\n", ErrFault, "id of"},
	{"long name", `{"event": "` + strings.Repeat("X", maxName+1) + `"}` + "\n", ErrFault, "name of"},
}

func TestLinkEndsOnFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := qmptest.New(t, qmptest.Config{})
			release := hold(t, s, "stop")
			defer release()
			l := dialLink(t, s)
			waiting := start(func() error { return l.Execute(long(t), "stop", nil, nil) })
			called(t, s, "stop")
			s.Event("RESUME", nil)
			s.Raw(f.line)
			wantError(t, <-waiting, f.want)
			<-l.Done()
			if err := l.Err(); !strings.Contains(err.Error(), f.says) || !strings.Contains(err.Error(), s.Path()) {
				t.Errorf("cause %v, want %q", err, f.says)
			}
			if e := next(t, l); e.Name != EventResume {
				t.Errorf("the event before: %+v", e)
			}
			_, err := l.Next(long(t))
			wantError(t, err, f.want)
			wantError(t, l.Execute(long(t), "stop", nil, nil), f.want)
		})
	}
}

func TestLinkBoundsLines(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	frame := `{"event": "STOP", "data": {"x": ""}}`
	s.Raw(frame[:len(frame)-3] + strings.Repeat("x", MaxLine-len(frame)) + frame[len(frame)-3:] + "\r\n")
	if e := next(t, l); len(e.Data) < MaxLine-100 {
		t.Fatalf("%d bytes of data", len(e.Data))
	}
	sent := start(func() error { s.Raw(strings.Repeat("x", MaxLine+3)); return nil })
	<-l.Done()
	wantError(t, l.Err(), ErrFault)
	<-sent
}

// A line that QEMU did not end is not a message, even where it reads as one.
func TestLinkEndsWithQEMU(t *testing.T) {
	for _, rest := range []string{"", `{"event": "STOP"}`} {
		s := qmptest.New(t, qmptest.Config{})
		l := dialLink(t, s)
		s.Event("SHUTDOWN", Shutdown{true, "guest-shutdown"})
		s.Raw(rest)
		s.Cut()
		var shutdown Shutdown
		if e := next(t, l); e.Decode(&shutdown) != nil || !shutdown.Guest || shutdown.Reason != "guest-shutdown" {
			t.Errorf("shutdown %+v", e)
		}
		_, err := l.Next(long(t))
		wantError(t, err, ErrGone)
	}
}

func TestLinkEndsWhenEventsAreNotTaken(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	for range maxQueued + 1 {
		s.Event("STOP", nil)
	}
	<-l.Done()
	wantError(t, l.Err(), ErrNotTaken)
	for range maxQueued {
		next(t, l)
	}
	_, err := l.Next(long(t))
	wantError(t, err, ErrNotTaken)
}

func TestLinkBoundsBytesOfEvents(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	l := dialLink(t, s)
	big := map[string]string{"x": strings.Repeat("x", MaxLine/2)}
	sent := start(func() error {
		for range maxQueuedBytes/(MaxLine/2) + 1 {
			s.Event("STOP", big)
		}
		return nil
	})
	<-l.Done()
	wantError(t, l.Err(), ErrNotTaken)
	<-sent
}

func TestLinkClose(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	release := hold(t, s, "stop")
	defer release()
	l := dialLink(t, s)
	command := start(func() error { return l.Execute(long(t), "stop", nil, nil) })
	event := start(func() error { _, err := l.Next(long(t)); return err })
	called(t, s, "stop")
	_ = l.Close()
	_ = l.Close()
	wantError(t, <-command, ErrClosed)
	wantError(t, <-event, ErrClosed)
}

func TestLinkNextEndsWithItsContext(t *testing.T) {
	l := dialLink(t, qmptest.New(t, qmptest.Config{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Next(ctx)
	wantError(t, err, context.Canceled)
	wantError(t, l.Execute(ctx, "stop", nil, nil), context.Canceled)
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

// notQMP is what may sit behind a path that is no QMP socket.
var notQMP = []struct {
	name     string
	greeting string
	says     string
}{
	{"monitor for people", "QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", "-qmp"},
	{"pretty", "{\r\n    \"QMP\": {\r\n", "pretty=on"},
	{"web server", "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"},
	{"other JSON", `{"jsonrpc": "2.0"}` + "\n", "jsonrpc"},
	{"answer", `{"return": {}}` + "\n", "return"},
	{"endless", strings.Repeat("x", MaxLine+3), "does not end"},
}

func TestDialRefusesWhatIsNotQMP(t *testing.T) {
	for _, c := range notQMP {
		t.Run(c.name, func(t *testing.T) {
			s := qmptest.New(t, qmptest.Config{Greeting: c.greeting})
			_, linkErr := DialLink(long(t), s.Path())
			_, monitorErr := DialMonitor(long(t), s.Path())
			for _, err := range []error{linkErr, monitorErr} {
				wantError(t, err, ErrNotQMP)
				if text := fmt.Sprint(err); !strings.Contains(text, c.says) ||
					!strings.Contains(text, s.Path()) || strings.Contains(text, "\n") {
					t.Errorf("%v; want one line with %q", err, c.says)
				}
			}
		})
	}
}

func TestDialWithoutGreeting(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{Mute: true})
	for _, dial := range dialers {
		ctx, cancel := context.WithCancel(long(t))
		dialing := start(func() error { return dial(ctx, s.Path()) })
		cancel()
		if err := <-dialing; err == nil {
			t.Error("dialled a socket that says nothing")
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := dialers[0](ctx, s.Path()); err == nil {
		t.Error("dialled after the deadline")
	}
	conn, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	_, _, err = readGreeting(newLines(conn, MaxLine))
	wantError(t, err, ErrTimeout)
}

var dialers = []func(context.Context, string) error{
	func(ctx context.Context, path string) error { _, err := DialLink(ctx, path); return err },
	func(ctx context.Context, path string) error { _, err := DialMonitor(ctx, path); return err },
}

func TestDialWhatIsNoSocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dial := range dialers {
		for _, path := range []string{file, file + "-missing", file + strings.Repeat("x", 200)} {
			if err := dial(long(t), path); err == nil || !strings.Contains(err.Error(), path[:40]) {
				t.Errorf("%s: %v", path, err)
			}
		}
		wantError(t, dial(long(t), strings.Repeat("x", 200)), ErrSockets)
	}
}

func TestEventWithoutData(t *testing.T) {
	var d ColoExit
	wantError(t, Event{Name: EventColoExit}.Decode(&d), ErrFault)
	wantError(t, Event{Name: EventColoExit, Data: json.RawMessage("[]")}.Decode(&d), ErrFault)
}
