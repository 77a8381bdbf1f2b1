package qmp

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/belay-vm/belay/qmp/qmptest"
)

// These tests ask a real QEMU what the others believe of it.

const qemuBinary = "qemu-system-x86_64"

// qemu is one process with two monitors.
type qemu struct {
	t       *testing.T
	sockets Sockets
	cmd     *exec.Cmd
	ended   chan struct{}
}

// startQEMU starts a machine that waits (-S), with args in addition.
func startQEMU(t *testing.T, args ...string) *qemu {
	t.Helper()
	if testing.Short() {
		t.Skip("starts QEMU; not in short form")
	}
	if _, err := exec.LookPath(qemuBinary); err != nil {
		t.Skip("needs " + qemuBinary)
	}
	dir := t.TempDir()
	q := &qemu{t: t, sockets: Sockets{filepath.Join(dir, "link"), filepath.Join(dir, "monitor")}}
	return q.start(args...)
}

func (q *qemu) start(args ...string) *qemu {
	q.t.Helper()
	q.cmd = exec.Command(qemuBinary, append([]string{"-S", "-nodefaults", "-display", "none",
		"-qmp", "unix:" + q.sockets.Link + ",server=on,wait=off",
		"-qmp", "unix:" + q.sockets.Monitor + ",server=on,wait=off"}, args...)...)
	var says strings.Builder
	q.cmd.Stderr = &says
	if err := q.cmd.Start(); err != nil {
		q.t.Fatal(err)
	}
	cmd, ended := q.cmd, make(chan struct{})
	q.ended = ended
	go func() {
		defer close(ended)
		if err := cmd.Wait(); err != nil && says.Len() > 0 {
			q.t.Logf("%s: %v: %s", qemuBinary, err, &says)
		}
	}()
	q.t.Cleanup(func() {
		_ = cmd.Process.Kill() // or it has ended
		<-ended
	})
	return q
}

func (q *qemu) signal(s syscall.Signal) {
	q.t.Helper()
	if err := q.cmd.Process.Signal(s); err != nil {
		q.t.Fatal(err)
	}
}

// client waits for QEMU's sockets to be there.
func (q *qemu) client() *Client {
	q.t.Helper()
	ctx, cancel := context.WithCancel(q.t.Context())
	w := Watch(ctx, q.sockets)
	q.t.Cleanup(func() { stopWatching(q.t, w, cancel) })
	return take(q.t, w, EventConnected).Client
}

// dial connects without a Watcher, which would take the events.
func (q *qemu) dial() *Client {
	q.t.Helper()
	ctx, cancel := context.WithCancel(q.t.Context())
	w := Watch(ctx, q.sockets)
	take(q.t, w, EventConnected)
	stopWatching(q.t, w, cancel)
	return dialClient(q.t, q.sockets)
}

func TestRealCommandsAndEvents(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	c := q.dial()
	if !c.OOB() || c.PID() != q.cmd.Process.Pid {
		t.Errorf("OOB %v, process %d, want %d", c.OOB(), c.PID(), q.cmd.Process.Pid)
	}
	status, err := c.QueryStatus(long(t))
	if err != nil || status != (Status{false, StatusPrelaunch}) {
		t.Errorf("status %+v, %v", status, err)
	}
	for range 10 {
		if err := errors.Join(c.Cont(long(t)), c.Stop(long(t))); err != nil {
			t.Fatal(err)
		}
	}
	events, err := c.Drain(long(t))
	if err != nil || len(events) != 20 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, e := range events {
		if want := []string{EventResume, EventStop}[i%2]; e.Name != want || e.At.IsZero() ||
			i > 0 && e.At.Before(events[i-1].At) {
			t.Errorf("event %d is %s at %v, want %s", i, e.Name, e.At, want)
		}
	}
	if err := c.Quit(long(t)); err != nil && !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	var shutdown Shutdown
	e := next(t, c)
	if err := e.Decode(&shutdown); err != nil || e.Name != EventShutdown || shutdown.Guest {
		t.Errorf("at the end %+v, %v", e, err)
	}
	_, err = c.Next(long(t))
	wantError(t, err, ErrGone)
	<-c.monitor.Done()
}

func TestRealAnswers(t *testing.T) {
	c := startQEMU(t, "-machine", "none").client()
	version, err := c.QueryVersion(long(t))
	if err != nil || version != c.Version() || version.QEMU.Major == 0 {
		t.Errorf("version %v, greeted %v, %v", version, c.Version(), err)
	}
	commands, err := c.QueryCommands(long(t))
	if err != nil || !slices.Contains(commands, "query-status") {
		t.Errorf("%d commands, %v", len(commands), err)
	}
	machines, err := c.QueryMachines(long(t))
	if err != nil || !slices.ContainsFunc(machines, func(m Machine) bool { return m.Alias == "pc" }) {
		t.Errorf("%d machines, %v", len(machines), err)
	}
	colo, err := c.QueryColo(long(t))
	if err != nil || colo.Mode != ColoNone {
		t.Errorf("COLO %+v, %v", colo, err)
	}
	yank, err := c.QueryYank(long(t))
	if err != nil || !slices.ContainsFunc(yank, func(i YankInstance) bool { return i.Type == "chardev" }) {
		t.Errorf("yank instances %+v, %v", yank, err)
	}
	if m, err := c.QueryMigrate(long(t)); err != nil || m.Status != "" {
		t.Errorf("migration %+v, %v", m, err)
	}
	var schema []struct {
		Name string `json:"name"`
	}
	if err := c.Execute(long(t), "query-qmp-schema", nil, &schema); err != nil || len(schema) < 100 {
		t.Errorf("schema of %d, %v", len(schema), err) // 200 KiB, over the Link
	}
	if err := c.Execute(long(t), "nope", nil, nil); !Unknown(err) {
		t.Errorf("unknown command: %v", err)
	}
	err = c.YankMigration(long(t)) // there is none
	var refused *CommandError
	if !errors.As(err, &refused) {
		t.Errorf("yank: %v", err)
	}
	if c.MonitorErr() != nil {
		t.Error(c.MonitorErr())
	}
}

func TestRealPreparationsForColo(t *testing.T) {
	c := startQEMU(t, "-M", "pc,memory-backend=mem,accel=tcg", "-m", "size=32M,slots=2,maxmem=1G",
		"-object", "memory-backend-memfd,id=mem,size=32M,share=on").client()
	list, err := c.QueryCapabilities(long(t))
	if err != nil || !slices.Contains(list, Capability{CapabilityColo, false}) {
		t.Fatalf("capabilities %+v, %v", list, err)
	}
	if err := c.SetCapabilities(long(t), Capability{CapabilityColo, true}); err != nil {
		t.Error(err)
	}
	if list, err = c.QueryCapabilities(long(t)); !slices.Contains(list, Capability{CapabilityColo, true}) {
		t.Errorf("capabilities %+v, %v", list, err)
	}
	if err := c.SetCheckpointDelay(long(t), 1500e6); err != nil {
		t.Error(err)
	}
	name, err := c.MachineType(long(t))
	if err != nil || !strings.HasPrefix(name, "pc-i440fx-") {
		t.Errorf("machine %q, %v", name, err)
	}
	memory, err := c.QueryMachineMemory(long(t))
	if err != nil || memory != (MachineMemory{32 << 20, 1 << 30, 2}) {
		t.Errorf("memory %+v, %v", memory, err)
	}
	backend, err := c.MachineBackend(long(t))
	if err != nil || !strings.HasSuffix(backend, "/mem") {
		t.Errorf("backend %q, %v", backend, err)
	}
	devs, err := c.QueryMemdev(long(t))
	if err != nil || len(devs) != 1 || devs[0].ID != "mem" || !devs[0].Share || devs[0].Size != 32<<20 {
		t.Errorf("memory backends %+v, %v", devs, err)
	}
	if kvm, err := c.QueryKVM(long(t)); err != nil || kvm.Enabled {
		t.Errorf("KVM %+v, %v", kvm, err)
	}
	if chardevs, err := c.QueryChardevs(long(t)); err != nil || len(chardevs) < 2 || !chardevs[0].Open {
		t.Errorf("chardevs %+v, %v", chardevs, err)
	}
}

// A stopped process is a QEMU that hangs: the kernel takes connections and commands for it.
func TestRealHang(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	c := q.dial()
	q.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithCancel(long(t))
	ordinary := start(func() error { return c.Stop(ctx) })
	oob := start(func() error { _, err := c.Barrier(ctx); return err })
	cancel()
	for _, done := range []<-chan error{ordinary, oob} {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	for _, dial := range dialers {
		ctx, cancel := context.WithCancel(long(t))
		second := start(func() error { return dial(ctx, q.sockets.Link) })
		cancel()
		if err := <-second; err == nil {
			t.Error("a second client was greeted")
		}
	}
	q.signal(syscall.SIGCONT)
	if err := c.Cont(long(t)); err != nil && c.MonitorErr() == nil {
		t.Error(err)
	}
	if _, err := c.Drain(long(t)); err != nil {
		t.Error(err)
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
}

func TestRealKill(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	c := q.dial()
	q.signal(syscall.SIGSTOP) // so that the command is under way at the end
	running := start(func() error { return c.monitor.Execute(long(t), "query-status", nil, nil) })
	q.signal(syscall.SIGKILL)
	wantError(t, <-running, ErrGone)
	<-c.Done()
	<-c.monitor.Done()
	wantError(t, c.Err(), ErrGone)
	_, err := c.Next(long(t))
	wantError(t, err, ErrGone)
}

func TestRealRestart(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	ctx, cancel := context.WithCancel(t.Context())
	w := Watch(ctx, q.sockets)
	defer stopWatching(t, w, cancel)
	for range 2 {
		c := take(t, w, EventConnected).Client
		if c.PID() != q.cmd.Process.Pid {
			t.Errorf("connected to process %d, want %d", c.PID(), q.cmd.Process.Pid)
		}
		if err := c.Cont(long(t)); err != nil {
			t.Error(err)
		}
		take(t, w, EventResume)
		q.signal(syscall.SIGKILL)
		take(t, w, EventLost)
		<-q.ended
		q.start("-machine", "none")
	}
	take(t, w, EventConnected)
}

func TestRealMonitorForPeople(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	people, pretty := q.sockets.Link+"-people", q.sockets.Link+"-pretty"
	q.signal(syscall.SIGKILL)
	<-q.ended
	q.start("-machine", "none", "-monitor", "unix:"+people+",server=on,wait=off",
		"-qmp-pretty", "unix:"+pretty+",server=on,wait=off")
	q.client()
	for _, path := range []string{people, pretty} {
		for _, dial := range dialers {
			wantError(t, dial(long(t), path), ErrNotQMP)
		}
	}
}

func TestRealTwoQEMUs(t *testing.T) {
	q := startQEMU(t, "-machine", "none")
	q.client()
	fake := qmptest.New(t, qmptest.Config{}) // this process's
	third := q.sockets.Link + "-third"
	q.signal(syscall.SIGKILL)
	<-q.ended
	q.start("-machine", "none", "-qmp", "unix:"+third+",server=on,wait=off")
	q.client()
	_, err := Dial(long(t), Sockets{fake.Path(), third})
	wantError(t, err, ErrSockets)
}
