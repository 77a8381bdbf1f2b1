package freeze

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// program is the built testdata/walker. That of a test would not do: it has no symbols.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "freeze-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "walker")
	out, err := exec.Command("go", "build", "-o", program, "./testdata/walker").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Where the traps of these tests are.
const (
	here     = "main.step"
	nowhere  = "main.leap"
	patience = time.Minute
)

// walking is a walker with its pipes.
type walking struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startWalker(t *testing.T) *walking {
	t.Helper()
	w := &walking{Cmd: exec.Command(program)}
	in, err := w.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.in, w.out = in, bufio.NewReader(out)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Process.Kill(); _ = w.Wait() })
	return w
}

// steps has the walker asked for n steps.
func (w *walking) steps(t *testing.T, n int) {
	t.Helper()
	if _, err := io.WriteString(w.in, strings.Repeat("\n", n)); err != nil {
		t.Fatal(err)
	}
}

// said wants the walker to have taken this step next.
func (w *walking) said(t *testing.T, n int) {
	t.Helper()
	line, err := w.out.ReadString('\n')
	if want := fmt.Sprintf("step %d\n", n); err != nil || line != want {
		t.Fatalf("it said %q, %v, want %q", line, err, want)
	}
}

func TestStopsAtTheNthCall(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := startWalker(t)
	w.steps(t, 1)
	w.said(t, 1) // what was before counts for nothing
	trap, err := At(w.Process.Pid, program, here, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	w.steps(t, 5)
	if err := trap.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if n := trap.Calls(); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	w.said(t, 2)
	w.said(t, 3)
	if n := w.out.Buffered(); n > 0 {
		t.Errorf("it has gone on: %d bytes more", n)
	}
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Process.Pid))
	if err != nil || !strings.Contains(string(state), ") T ") {
		t.Errorf("it does not stand still: %s, %v", state, err)
	}
	if err := Continue(w.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for n := 4; n <= 6; n++ {
		w.said(t, n) // it stops once
	}
}

func TestEndsInsteadOfStopping(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := startWalker(t)
	trap, err := At(w.Process.Pid, program, here, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	w.steps(t, 1)
	if err := w.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := trap.Wait(ctx); !errors.Is(err, ErrEnded) {
		t.Errorf("got %v, want %v", err, ErrEnded)
	}
}

func TestNeverEntered(t *testing.T) {
	w := startWalker(t)
	trap, err := At(w.Process.Pid, program, here, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := trap.Wait(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), here) {
		t.Errorf("got %v", err)
	}
}

func TestNoSuchFunction(t *testing.T) {
	w := startWalker(t)
	if trap, err := At(w.Process.Pid, program, nowhere, 1); err == nil {
		trap.Close()
		t.Error("a trap where nothing is")
	} else if !strings.Contains(err.Error(), nowhere) {
		t.Errorf("it does not say where: %v", err)
	}
}

func TestLacking(t *testing.T) {
	lacks, err := Lacking(program, []string{here, nowhere})
	if err != nil || !slices.Equal(lacks, []string{nowhere}) {
		t.Errorf("got %q, %v", lacks, err)
	}
}
