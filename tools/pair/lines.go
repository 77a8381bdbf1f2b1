package pair

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// Lines is a guest's console, line by line. Its methods may be called by any goroutine.
type Lines struct {
	mu      sync.Mutex
	out     io.Writer // may be nil
	part    []byte    // the line that is not yet whole
	lines   []string
	arrived chan struct{} // closed and replaced with each line
}

func newLines(out io.Writer) *Lines { return &Lines{out: out, arrived: make(chan struct{})} }

// Write takes what the console said; it never fails.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		_, _ = l.out.Write(p) // a log that cannot be written must not stop the guest
	}
	l.part = append(l.part, p...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.lines = append(l.lines, strings.TrimSpace(string(line)))
		l.part = rest
		close(l.arrived)
		l.arrived = make(chan struct{})
	}
}

// Len is how many lines came so far: a mark from which Await can start.
func (l *Lines) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Await waits for n lines that match, not before mark, and returns the last of them.
func (l *Lines) Await(ctx context.Context, mark, n int, match *regexp.Regexp) (string, error) {
	for want := n; ; {
		l.mu.Lock()
		lines, arrived := l.lines[mark:], l.arrived
		l.mu.Unlock()
		for _, line := range lines {
			if match.MatchString(line) {
				if n--; n <= 0 {
					return line, nil
				}
			}
		}
		mark += len(lines)
		select {
		case <-arrived:
		case <-ctx.Done():
			return "", fmt.Errorf("%d of %d lines like %q on the console: %w", want-n, want, match, ctx.Err())
		}
	}
}

// Matching is all lines that match, so far.
func (l *Lines) Matching(match *regexp.Regexp) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if match.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}
