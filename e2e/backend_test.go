//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start or to stop.
const patience = 30 * time.Second

// backend is a program that serves a volume over vhost-user-blk.
type backend interface {
	create(t *testing.T, volume, size string)
	// serve is the command line of the server; it says that it listens by a line that
	// starts with "ready" (or, if silent is true, by its socket being there).
	serve(volume, socket string, queues int) (args []string, silent bool)
	resize(t *testing.T, volume, size string)
	checkpoints() bool // it can take them and roll back
	packed() bool      // it has packed rings
	inflight() bool    // it recovers requests that were in flight when it was killed
}

func underTest() backend {
	if os.Getenv("BELAY_E2E_BACKEND") == "qsd" {
		return storageDaemon{}
	}
	return belay{}
}

// belay is the product.
type belay struct{}

func (belay) create(t *testing.T, volume, size string) {
	t.Helper()
	cli(t, "create", volume, "--size", size)
}

func (belay) serve(volume, socket string, queues int) ([]string, bool) {
	return []string{binary(), "serve", volume, "--socket-path", socket,
		"--num-queues", strconv.Itoa(queues)}, false
}

func (belay) resize(t *testing.T, volume, size string) {
	t.Helper()
	cli(t, "resize", volume, "--size", size)
}

func (belay) checkpoints() bool { return true }
func (belay) packed() bool      { return true }
func (belay) inflight() bool    { return true }

func binary() string {
	if path := os.Getenv("BELAY"); path != "" {
		return path
	}
	return filepath.Join("..", "bin", "belay")
}

// cli runs a verb that must succeed and returns its standard output.
func cli(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryCLI(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryCLI(args ...string) (string, error) {
	out, err := exec.Command(binary(), args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("belay %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// storageDaemon is QEMU's own backend, on a raw file.
type storageDaemon struct{}

func (storageDaemon) create(t *testing.T, volume, size string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "raw", volume, size).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
}

func (storageDaemon) serve(volume, socket string, queues int) ([]string, bool) {
	return []string{"qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=f,discard=unmap,filename=" + volume,
		"--chardev", "socket,id=mon,server=on,wait=off,path=" + volume + ".mon",
		"--monitor", "chardev=mon",
		"--export", "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix," +
			fmt.Sprintf("addr.path=%s,num-queues=%d", socket, queues)}, true
}

func (storageDaemon) resize(t *testing.T, volume, size string) {
	t.Helper()
	conn, err := net.Dial("unix", volume+".mon")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, `{"execute": "qmp_capabilities"}`)
	fmt.Fprintf(conn, `{"execute": "block_resize", "arguments": {"node-name": "f", "size": %d}}`+"\n",
		bytesOf(t, size))
	// The greeting, then an answer to each.
	lines := bufio.NewScanner(conn)
	for answers := 0; answers < 2 && lines.Scan(); {
		if strings.Contains(lines.Text(), `"error"`) {
			t.Fatalf("block_resize: %s", lines.Text())
		}
		if strings.Contains(lines.Text(), `"return"`) {
			answers++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("block_resize: %v", err)
	}
}

func (storageDaemon) checkpoints() bool { return false }
func (storageDaemon) packed() bool      { return false }
func (storageDaemon) inflight() bool    { return false }

func bytesOf(t *testing.T, size string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimRight(size, "MG"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(size, "G") {
		n <<= 10
	}
	return n << 20
}

// server is one running server process.
type server struct {
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
	err    error // valid after exited
}

// startServer returns once the server takes connections.
func startServer(t *testing.T, b backend, volume, socket string, queues int) *server {
	t.Helper()
	args, silent := b.serve(volume, socket, queues)
	s := &server{cmd: exec.Command(args[0], args[1:]...), log: &logBuffer{}, exited: make(chan struct{})}
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if silent {
		os.Remove(socket)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("starting the server: %v", err)
	}
	ready := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "ready") {
				close(ready)
			}
		}
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	if silent {
		go func() { awaitFile(socket); close(ready) }()
	}
	select {
	case <-ready:
	case <-s.exited:
		t.Fatalf("the server ended at once: %v\n%s", s.err, s.log.text())
	case <-time.After(patience):
		s.kill()
		t.Fatalf("the server was not ready in %v\n%s", patience, s.log.text())
	}
	return s
}

func awaitFile(path string) {
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
}

// kill is kill -9.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// stop is what systemd does: SIGTERM, and the server must end well.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.kill()
		t.Fatalf("the server did not end on SIGTERM\n%s", s.log.text())
	}
	if s.err != nil {
		t.Fatalf("the server ended with %v on SIGTERM\n%s", s.err, s.log.text())
	}
}

// logBuffer keeps a server's standard error for failures.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	return len(p), nil
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 8<<10 {
		return "..." + string(l.buf[len(l.buf)-8<<10:])
	}
	return string(l.buf)
}

// allocated is the space in bytes that a volume, file or directory, takes on the host.
func allocated(t *testing.T, volume string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(volume, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		sum += fi.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
