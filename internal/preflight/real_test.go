package preflight

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/qmp"
)

// start runs a real QEMU with a monitor, and returns when that is there.
func start(t *testing.T, args ...string) qmp.Sockets {
	t.Helper()
	const binary = "qemu-system-x86_64"
	if testing.Short() {
		t.Skip("starts QEMU; not in short form")
	}
	if _, err := exec.LookPath(binary); err != nil {
		t.Skip("needs " + binary)
	}
	s := qmp.Sockets{Link: filepath.Join(t.TempDir(), "qmp")}
	cmd := exec.Command(binary, append([]string{"-nodefaults", "-display", "none",
		"-qmp", "unix:" + s.Link + ",server=on,wait=off"}, args...)...)
	var says strings.Builder
	cmd.Stderr = &says
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // or it has ended
		_ = cmd.Wait()         // killed
		if says.Len() > 0 {
			t.Logf("QEMU: %s", &says)
		}
	})
	ctx, cancel := context.WithCancel(background(t))
	w := qmp.Watch(ctx, s)
	if e, ok := <-w.Events(); !ok || e.Name != qmp.EventConnected {
		t.Fatalf("QEMU does not come: %v", w.Err())
	}
	cancel()
	for range w.Events() { // until the watcher has let go of the socket
	}
	return s
}

// TestRealQEMU asks real ones. KVM is not wanted here.
func TestRealQEMU(t *testing.T) {
	memory := []string{"-m", "32M", "-object", "memory-backend-memfd,id=mem,size=32M,share=on"}
	pc := append([]string{"-M", "pc,accel=tcg,memory-backend=mem"}, memory...)
	incoming := []string{"-incoming", "tcp:127.0.0.1:0"}
	for _, row := range []struct {
		name      string
		args      []string
		secondary bool
		lacks     string
	}{
		{"primary", pc, false, ""},
		{"secondary", append(append([]string{"-S"}, pc...), incoming...), true, ""},
		{"secondary without -S", append(pc[:len(pc):len(pc)], incoming...), true, "-S"},
		{"incoming deferred", append([]string{"-S", "-incoming", "defer"}, pc...), true, "incoming"},
		{"numa", append([]string{"-M", "pc,accel=tcg", "-numa", "node,memdev=mem"}, memory...), false, ""},
		{"private memory", []string{"-M", "pc,accel=tcg", "-m", "32M"}, false, "memory"},
		{"q35", append([]string{"-M", "q35,accel=tcg,memory-backend=mem"}, memory...), false, "machine"},
		{"none", []string{"-M", "none"}, false, "machine memory"},
		{"swapped", append(pc[:len(pc):len(pc)], incoming...), false, "state"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var lacks []string
			for _, f := range Monitor(background(t), start(t, row.args...), row.secondary) {
				if f.Result == pairview.Missing {
					lacks = append(lacks, f.What)
				}
				t.Logf("%s %v", f.Result, f)
				if f.Result == pairview.Unknown && row.name != "none" {
					t.Errorf("not told: %v", f)
				}
			}
			if got := strings.Join(lacks, " "); got != row.lacks {
				t.Errorf("it lacks %q, not %q", got, row.lacks)
			}
		})
	}
}
