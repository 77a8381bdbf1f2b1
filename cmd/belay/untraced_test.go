package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestWithoutEBPF: a server needs no eBPF, neither the right to it nor the code; who wants to trace it
// is told in a line what is missing, and what there is instead.
func TestWithoutEBPF(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and starts processes: left out with -short")
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test starts processes of another user: run it as root")
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	t.Run("no right", func(t *testing.T) { withoutEBPF(t, "", nobody, "the right to load eBPF programs") })
	t.Run("not built", func(t *testing.T) { withoutEBPF(t, "nobpf", nil, "eBPF in this program") })
}

func withoutEBPF(t *testing.T, tag string, as *syscall.Credential, missing string) {
	w := &traceWorld{t: t, dir: t.TempDir()}
	w.build(tag)
	if w.as = as; as != nil {
		for _, dir := range []string{w.dir, filepath.Dir(w.dir)} {
			if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.serve()
	w.load(20, 10)
	var stderr bytes.Buffer
	trace := w.belay("trace", "vol", "--once")
	trace.Stderr = &stderr
	err := trace.Run()
	line := stderr.String()
	if err == nil || strings.Count(line, "\n") != 1 || !strings.Contains(line, "missing: "+missing) ||
		!strings.Contains(line, "belay top and /metrics work without it") {
		t.Errorf("trace: %v, %q", err, line)
	}
	top, err := w.belay("top", "--once", "--json", "--interval", "100ms").Output()
	if err != nil || !bytes.Contains(top, []byte(filepath.Join(w.dir, "vol"))) {
		t.Errorf("top: %v: %s", err, top)
	}
	if err := w.guest.Close(); err != nil {
		t.Error(err)
	}
}
