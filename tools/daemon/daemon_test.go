package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func shell(script string) Command {
	return Command{Args: []string{"sh", "-c", script}}
}

func TestStopEndsAReadyBackend(t *testing.T) {
	d, err := Start(shell(`trap 'exit 0' TERM; echo "ready /some/socket"; while :; do sleep 0.01; done`))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

func TestStopReportsTheExitCode(t *testing.T) {
	d, err := Start(shell(`trap 'echo oh dear >&2; exit 7' TERM; echo ready; while :; do sleep 0.01; done`))
	if err != nil {
		t.Fatal(err)
	}
	err = d.Stop()
	if err == nil || !strings.Contains(err.Error(), "exit status 7") ||
		!strings.Contains(err.Error(), "oh dear") {
		t.Errorf("got %v", err)
	}
}

func TestKillWaitsForTheEnd(t *testing.T) {
	d, err := Start(shell(`echo ready; exec sleep 1000`))
	if err != nil {
		t.Fatal(err)
	}
	d.Kill()
	select {
	case <-d.Exited():
	default:
		t.Error("the process still runs")
	}
}

func TestStartReportsAnEarlyEnd(t *testing.T) {
	_, err := Start(shell(`echo no such volume >&2; exit 1`))
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "no such volume") {
		t.Errorf("got %v", err)
	}
}

func TestSilentBackendIsReadyWithItsSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv(silent, socket)
	d, err := Start(Command{Args: []string{os.Args[0]}, Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// silent names the socket of a backend that says nothing; this test binary is one then.
const silent = "BELAY_TEST_SILENT_BACKEND"

func TestMain(m *testing.M) {
	socket := os.Getenv(silent)
	if socket == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("unix", socket)
	for err == nil {
		_, err = l.Accept()
	}
	panic(err)
}

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	for range 1000 {
		if _, err := l.Write([]byte(strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if got := l.text(); len(got) > logLimit || !strings.HasSuffix(got, "last words") {
		t.Errorf("kept %d bytes", len(got))
	}
}
