package qmp

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/qmp/qmptest"
)

// twoServers play the two monitors of one QEMU.
func twoServers(t *testing.T) (link, monitor *qmptest.Server, s Sockets) {
	t.Helper()
	link, monitor = qmptest.New(t, qmptest.Config{}), qmptest.New(t, qmptest.Config{})
	return link, monitor, Sockets{link.Path(), monitor.Path()}
}

func dialClient(t *testing.T, s Sockets) *Client {
	t.Helper()
	c, err := Dial(long(t), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClientSharesOut(t *testing.T) {
	link, monitor, sockets := twoServers(t)
	c := dialClient(t, sockets)
	if err := c.Stop(long(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Barrier(long(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Execute(long(t), "query-qmp-schema", nil, nil); !Unknown(err) {
		t.Errorf("a command with a large answer: %v", err)
	}
	if call := <-monitor.Calls(); call.Command != "stop" {
		t.Errorf("over the monitor: %+v", call)
	}
	for _, want := range []string{"yank", "query-qmp-schema"} {
		if call := <-link.Calls(); call.Command != want {
			t.Errorf("over the link: %+v, want %s", call, want)
		}
	}
	if c.PID() != os.Getpid() || c.Version().String() != "7.2.22" || !c.OOB() {
		t.Errorf("process %d, version %v, OOB %v", c.PID(), c.Version(), c.OOB())
	}
}

func TestClientWithOneSocket(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	c := dialClient(t, Sockets{Link: s.Path()})
	status, err := c.QueryStatus(long(t))
	if err != nil || status.Running || c.MonitorErr() != nil {
		t.Errorf("%+v, %v, %v", status, err, c.MonitorErr())
	}
}

// A Monitor that dies takes the command with it, and not the events.
func TestClientOutlivesItsMonitor(t *testing.T) {
	link, monitor, sockets := twoServers(t)
	release := hold(t, monitor, "stop")
	defer release()
	c := dialClient(t, sockets)
	ctx, cancel := context.WithCancel(long(t))
	stopped := start(func() error { return c.Stop(ctx) })
	called(t, monitor, "stop")
	cancel()
	wantError(t, <-stopped, ErrTimeout)
	wantError(t, c.MonitorErr(), ErrTimeout)
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
	if err := c.Cont(long(t)); err != nil {
		t.Fatal(err)
	}
	if call := <-link.Calls(); call.Command != "cont" {
		t.Errorf("over the link: %+v", call)
	}
	if e := next(t, c); e.Name != EventResume {
		t.Errorf("event %+v", e)
	}
}

func TestClientEndsWithItsLink(t *testing.T) {
	link, _, sockets := twoServers(t)
	c := dialClient(t, sockets)
	link.Cut()
	<-c.Done()
	<-c.monitor.Done()
	wantError(t, c.Err(), ErrGone)
	wantError(t, c.MonitorErr(), ErrGone)
	wantError(t, c.Stop(long(t)), ErrGone)
}

func TestDialNeedsBothSockets(t *testing.T) {
	_, monitor, sockets := twoServers(t)
	monitor.Close()
	if _, err := Dial(long(t), sockets); err == nil || !strings.Contains(err.Error(), sockets.Monitor) {
		t.Errorf("dialled: %v", err)
	}
}

func TestSameQEMU(t *testing.T) {
	s := Sockets{"/a", "/b"}
	wantError(t, sameQEMU(s, 1, 2), ErrSockets)
	for _, pids := range [][2]int{{1, 1}, {0, 1}, {1, 0}} {
		if err := sameQEMU(s, pids[0], pids[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestParseSockets(t *testing.T) {
	for text, want := range map[string]Sockets{"/a": {"/a", ""}, "/a,/b": {"/a", "/b"}} {
		if got, err := ParseSockets(text); err != nil || got != want || got.String() != text {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ",", "/a,", ",/b", "/a,/b,/c", "/a,/a"} {
		_, err := ParseSockets(text)
		wantError(t, err, ErrSockets)
	}
}

func TestCommandsAsSent(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	for _, name := range []string{"migrate-incoming", "migrate_cancel"} {
		s.Handle(name, func(qmptest.Call) (any, *qmptest.Error) { return nil, nil })
	}
	c := dialClient(t, Sockets{Link: s.Path()})
	for _, d := range []time.Duration{0, time.Microsecond, 50 * 24 * time.Hour} {
		if err := c.SetCheckpointDelay(long(t), d); err == nil {
			t.Errorf("delay %v was taken", d)
		}
	}
	for _, step := range []struct {
		run  func() error
		want string
		args string
	}{
		{func() error { return c.Migrate(long(t), "tcp:h:1") }, "migrate", `{"uri":"tcp:h:1"}`},
		{func() error { return c.MigrateIncoming(long(t), "tcp:h:1") }, "migrate-incoming", `{"uri":"tcp:h:1"}`},
		{func() error { return c.MigrateCancel(long(t)) }, "migrate_cancel", ""},
		{func() error { return c.SetCapabilities(long(t), Capability{CapabilityColo, true}) },
			"migrate-set-capabilities", `{"capabilities":[{"capability":"x-colo","state":true}]}`},
		{func() error { return c.SetCheckpointDelay(long(t), 500*time.Millisecond) },
			"migrate-set-parameters", `{"x-checkpoint-delay":500}`},
		{func() error { return c.LostHeartbeat(long(t)) }, "x-colo-lost-heartbeat", ""},
		{func() error { return c.Powerdown(long(t)) }, "system_powerdown", ""},
		{func() error { _, err := c.QueryColo(long(t)); return err }, "query-colo-status", ""},
		{func() error { _, err := c.QueryMigrate(long(t)); return err }, "query-migrate", ""},
		{func() error { _, err := c.Barrier(long(t)); return err }, "yank", `{"instances":[]}`},
	} {
		if err := step.run(); err != nil {
			t.Errorf("%s: %v", step.want, err)
		}
		if call := <-s.Calls(); call.Command != step.want || string(call.Args) != step.args {
			t.Errorf("sent %s %s, want %s %s", call.Command, call.Args, step.want, step.args)
		}
	}
	err := c.YankMigration(long(t)) // the fake has none
	if err == nil {
		t.Error("yanked")
	}
	if call := <-s.Calls(); !call.OOB || string(call.Args) != `{"instances":[{"type":"migration"}]}` {
		t.Errorf("yank as %+v %s", call, call.Args)
	}
}
