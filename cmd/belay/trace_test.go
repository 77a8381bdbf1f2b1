package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/trace"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// TestTrace traces a real server with a real program: the binary of a test has no symbols, and so
// no points. It needs root.
func TestTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and starts processes: left out with -short")
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test loads eBPF programs into the kernel: run it as root")
	}
	w := newTraceWorld(t)
	w.load(300, 70)
	tracer := w.start(t, "trace", "vol", "--json", "--interval", "60ms", "--outliers", "1ns",
		"--record", "recording")
	tracer.summary(t) // it is attached
	w.load(200, 50)
	if err := w.disk.Flush(); err != nil {
		t.Fatal(err)
	}
	if out, err := w.belay("checkpoint", "vol").CombinedOutput(); err != nil {
		t.Fatalf("checkpoint: %v: %s", err, out)
	}
	_ = tracer.cmd.Process.Signal(syscall.SIGINT)
	tracer.end(t, map[string]uint64{"write": 200, "read": 50, "flush": 1})
	w.checkReport(t)

	// One that is killed leaves the server as it was, and gives way to the next.
	killed := w.start(t, "trace", "vol", "--json", "--interval", "60ms")
	killed.summary(t)
	_ = killed.cmd.Process.Kill()
	_ = killed.cmd.Wait()
	w.load(10, 10)
	last := w.start(t, "trace", "vol", "--json", "--interval", "60ms")
	last.summary(t)
	w.load(7, 3)
	if err := w.guest.Close(); err != nil {
		t.Error(err)
	}
	_ = w.server.Process.Signal(syscall.SIGTERM)
	last.end(t, map[string]uint64{"write": 7, "read": 3})
	if !strings.Contains(last.stderr.String(), "has ended") {
		t.Errorf("the server ended, and the tracer said %q", &last.stderr)
	}
}

// traceWorld is a directory with the program, a volume, its server and a guest.
type traceWorld struct {
	t       *testing.T
	dir     string
	program string
	as      *syscall.Credential // whose processes they are; nil: the test's
	server  *exec.Cmd
	guest   *vhosttest.FrontEnd
	disk    *vhosttest.Disk
}

func newTraceWorld(t *testing.T) *traceWorld {
	w := &traceWorld{t: t, dir: t.TempDir()}
	w.build("")
	w.serve()
	return w
}

// build makes the program, with a build tag or without.
func (w *traceWorld) build(tag string) {
	w.t.Helper()
	w.program = filepath.Join(w.dir, "belay")
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", tag, "-o", w.program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("build: %v\n%s", err, out)
	}
}

// serve makes a volume and a server, and connects a guest.
func (w *traceWorld) serve() {
	t := w.t
	t.Helper()
	if out, err := w.belay("create", "vol", "--size", "16M").CombinedOutput(); err != nil {
		t.Fatalf("create: %v: %s", err, out)
	}
	w.server = w.belay("serve", "vol", "--socket-path", "sock")
	w.server.Stderr = os.Stderr
	if err := w.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.server.Process.Kill()
		_ = w.server.Wait()
	})
	if err := waitSocket([]string{filepath.Join(w.dir, "vol", control.SocketName)}); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.guest, err = vhosttest.Connect(filepath.Join(w.dir, "sock"), guestOptions); err != nil {
		t.Fatal(err)
	}
	if err := w.guest.Start(); err != nil {
		t.Fatal(err)
	}
	if w.disk, err = vhosttest.NewDisk(w.guest.Queue(0), 8, 1<<16); err != nil {
		t.Fatal(err)
	}
}

func (w *traceWorld) belay(args ...string) *exec.Cmd {
	cmd := exec.Command(w.program, args...)
	cmd.Dir = w.dir
	if w.as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.as}
	}
	return cmd
}

// load writes and reads blocks, one at a time.
func (w *traceWorld) load(writes, reads int) {
	w.t.Helper()
	block := make([]byte, blockSize)
	for i := range max(writes, reads) {
		sector := uint64(i) * blockSize / sectorSize
		if i < writes {
			if err := w.disk.Write(sector, block); err != nil {
				w.t.Fatal(err)
			}
		}
		if i < reads {
			if err := w.disk.Read(sector, block); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// checkReport demands of the recording what was done while it was made.
func (w *traceWorld) checkReport(t *testing.T) {
	t.Helper()
	out, err := w.belay("trace", "report", "recording", "--json", "--out", "picture.svg").Output()
	if err != nil {
		t.Fatalf("report: %v", err)
	}
	var report struct{ Summary trace.Summary }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	s := &report.Summary
	if s.Requests != 251 || s.Bytes != 250*blockSize || s.Errors != 0 || len(s.Outliers) == 0 {
		t.Errorf("report: %d requests, %d bytes, %d outliers", s.Requests, s.Bytes, len(s.Outliers))
	}
	seen := map[trace.EventKind]int{}
	for _, e := range s.Events {
		seen[e.Kind]++
	}
	if seen[trace.Started] != 1 || seen[trace.Sealed] != 1 {
		t.Errorf("events: %v", s.Events)
	}
	for _, kind := range s.Types {
		sum := uint64(0)
		for _, p := range kind.Parts[1:] {
			sum += p.Mean
		}
		if total := kind.Parts[0].Mean; sum > total || total-sum > 4 { // each is rounded down
			t.Errorf("the parts of a %s take %d ns of %d", kind.Type, sum, total)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "picture.svg")); err != nil {
		t.Error(err)
	}
}

// runningTracer is belay trace --json under way.
type runningTracer struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
	counts map[string]uint64 // requests so far, by type
}

func (w *traceWorld) start(t *testing.T, args ...string) *runningTracer {
	t.Helper()
	r := &runningTracer{cmd: w.belay(args...), counts: map[string]uint64{}}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(out)
	r.lines.Buffer(nil, 1<<20)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// summary reads one line, and says whether there was one.
func (r *runningTracer) summary(t *testing.T) bool {
	t.Helper()
	if !r.lines.Scan() {
		return false
	}
	var s trace.Summary
	if err := json.Unmarshal(r.lines.Bytes(), &s); err != nil {
		t.Fatalf("%v: %s", err, r.lines.Bytes())
	}
	for _, kind := range s.Types {
		r.counts[kind.Type] += kind.Requests
	}
	return true
}

// end reads the rest and demands what was counted in all.
func (r *runningTracer) end(t *testing.T, want map[string]uint64) {
	t.Helper()
	for r.summary(t) {
	}
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("tracer: %v: %s", err, &r.stderr)
	}
	for kind, n := range want {
		if r.counts[kind] != n {
			t.Errorf("%d requests of type %s were counted, want %d", r.counts[kind], kind, n)
		}
	}
}
