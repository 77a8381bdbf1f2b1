package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// The store's own tests print each figure as a line of JSON behind a mark.
const scaleMark = "SCALE "

// storeTests runs them in full size.
var storeTests = []string{"go", "test", "./checkpoint", "-run", "TestScale", "-count=1", "-v",
	"-timeout", "2h", "-scale"}

// storeTail is how much of what the tests said is told when they fail.
const storeTail = 2000

// measureStore runs the store's own tests and returns their figures, those of a failed run too.
// Their files lie where the rows' disks were, and go away whatever becomes of the tests.
func measureStore(ctx context.Context, o *options, progress io.Writer) ([]report.Figure, error) {
	files, err := newScratch(o.dir)
	if err != nil {
		return nil, err
	}
	defer files.remove()
	cmd := exec.CommandContext(ctx, storeTests[0], storeTests[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+files.path)
	// The test is a child of go's: both get the signal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var said, failed bytes.Buffer
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &failed
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	figures, bad := readFigures(io.TeeReader(pipe, &said), progress)
	err = cmd.Wait()
	if err != nil {
		text := append(said.Bytes(), failed.Bytes()...)
		err = fmt.Errorf("%s: %w: %s", strings.Join(storeTests, " "), err, text[max(0, len(text)-storeTail):])
	} else if len(figures) == 0 {
		err = errors.New("its tests gave none")
	}
	return figures, errors.Join(err, bad)
}

// readFigures reads a test's output to its end and shows each figure when it comes.
func readFigures(from io.Reader, progress io.Writer) ([]report.Figure, error) {
	var figures []report.Figure
	var bad error
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, text, found := strings.Cut(lines.Text(), scaleMark+"{")
		if !found {
			continue
		}
		f, err := parseFigure("{" + text)
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		figures = append(figures, f)
		fmt.Fprintf(progress, "  %s: %.4g %s\n", f.Name, f.Value, f.Unit)
	}
	return figures, errors.Join(bad, lines.Err())
}

// parseFigure reads one. A figure without a target is not judged, one without an opponent has no
// ratio.
func parseFigure(text string) (report.Figure, error) {
	var f report.Figure
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("figure %s: %w", text, err)
	}
	if f.Target == "" {
		f.Met = nil
	}
	if f.Against != nil && *f.Against == 0 {
		f.Against, f.Ratio = nil, nil
	}
	if f.Ratio != nil && *f.Ratio == 0 {
		f.Ratio = nil
	}
	return f, nil
}
