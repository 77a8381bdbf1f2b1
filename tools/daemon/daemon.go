// Package daemon runs a vhost-user backend as a child process for tools and end-to-end
// tests: it starts one and waits until it takes connections, kills it as a crash does, or
// ends it as systemd does, and keeps what it said for error reports.
package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// Patience is how long a backend may take to get ready, and to end on SIGTERM.
const Patience = 30 * time.Second

// logLimit bounds what is kept of a backend's standard error: its end.
const logLimit = 16 << 10

// ErrNotReady marks a backend that never took connections.
var ErrNotReady = errors.New("the backend did not get ready")

// Command is how to start a backend.
type Command struct {
	Args []string

	// Socket, if set, is waited for: it belongs to a backend that does not say that it is
	// ready. Others print a line that starts with "ready" on their standard output.
	Socket string
}

// Daemon is a running backend.
type Daemon struct {
	cmd    *exec.Cmd
	log    tail
	ready  chan struct{}
	exited chan struct{}
	err    error // valid after exited
}

// Start returns once the backend takes connections.
func Start(c Command) (*Daemon, error) {
	d := &Daemon{
		cmd:   exec.Command(c.Args[0], c.Args[1:]...),
		ready: make(chan struct{}), exited: make(chan struct{}),
	}
	d.cmd.Stderr = &d.log
	// A backend must not outlive a test that died.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.Socket != "" {
		// What a killed predecessor left would look like readiness.
		if err := os.Remove(c.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go d.follow(stdout, c.Socket == "")
	if c.Socket != "" {
		go d.await(c.Socket)
	}
	return d, d.waitReady()
}

func (d *Daemon) waitReady() error {
	select {
	case <-d.ready:
		return nil
	case <-d.exited:
		return fmt.Errorf("%w: it ended with %w: %s", ErrNotReady, d.err, d.Log())
	case <-time.After(Patience):
		d.Kill()
		return fmt.Errorf("%w in %v: %s", ErrNotReady, Patience, d.Log())
	}
}

// follow reads standard output to its end and collects the exit code.
func (d *Daemon) follow(stdout io.Reader, speaks bool) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if speaks && strings.HasPrefix(lines.Text(), "ready") {
			close(d.ready)
			speaks = false
		}
	}
	if d.err = d.cmd.Wait(); d.err == nil {
		d.err = errEnded
	}
	close(d.exited)
}

// errEnded stands for exit code 0.
var errEnded = errors.New("exit code 0")

func (d *Daemon) await(socket string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := vhosttest.Listening(d.cmd.Process.Pid, socket); ok && err == nil {
			close(d.ready)
			return
		}
		select {
		case <-tick.C:
		case <-d.exited:
			return
		}
	}
}

// Kill is kill -9; it returns when the process is gone.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill() // it may be gone already
	<-d.exited
}

// Stop asks the backend to end, which it must do in time and with exit code 0.
func (d *Daemon) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	select {
	case <-d.exited:
	case <-time.After(Patience):
		d.Kill()
		return fmt.Errorf("the backend did not end in %v after SIGTERM: %s", Patience, d.Log())
	}
	if d.err != errEnded {
		return fmt.Errorf("the backend ended with %w after SIGTERM: %s", d.err, d.Log())
	}
	return nil
}

// Exited is closed when the process is gone.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// PID is the backend's process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Log is the end of what the backend wrote to standard error.
func (d *Daemon) Log() string { return d.log.text() }

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf = append(t.buf, p...); len(t.buf) > 2*logLimit {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-logLimit:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf[max(0, len(t.buf)-logLimit):]))
}
