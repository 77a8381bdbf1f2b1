package guest

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrRebooted ends the commands that were running when the guest started anew.
var ErrRebooted = errors.New("the guest rebooted")

// maxLine bounds a line from the guest: the agent sends at most 256 KiB of a command's
// output, a third more in base64.
const maxLine = 1 << 20

// ExitError is a command that ran in the guest and failed.
type ExitError struct {
	Script string
	Code   int
	Output string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("guest command %q: exit code %d: %s",
		shorten(e.Script, 120), e.Code, strings.TrimSpace(shorten(e.Output, 2000)))
}

// shorten keeps the end of a text: that is where programs say what went wrong.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return "..." + s[len(s)-limit:]
}

// lastID is the newest command's. One count for all guests: a guest that goes on elsewhere may
// still run what it was told at its old place.
var lastID atomic.Int64

// answer is what came of one command.
type answer struct {
	code   int
	output string
	err    error
}

// agent is the host's end of the port.
type agent struct {
	conn net.Conn

	mu      sync.Mutex // guards what is below; writes to conn too, so that lines stay whole
	waiting map[string]chan answer
	boots   int           // hellos so far
	hello   chan struct{} // closed and replaced at each hello
	err     error         // why the port is closed
}

func newAgent(conn net.Conn) *agent {
	a := &agent{conn: conn, waiting: map[string]chan answer{}, hello: make(chan struct{})}
	go a.read()
	return a
}

// run executes a shell script in the guest and returns what it printed on both outputs.
func (a *agent) run(ctx context.Context, script string) (string, error) {
	id, result, err := a.send(ctx, script)
	if err != nil {
		return "", err
	}
	select {
	case r := <-result:
		if r.err == nil && r.code != 0 {
			r.err = &ExitError{Script: script, Code: r.code, Output: r.output}
		}
		return r.output, r.err
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.waiting, id)
		a.mu.Unlock()
		return "", fmt.Errorf("guest command %q: %w", shorten(script, 120), ctx.Err())
	}
}

func (a *agent) send(ctx context.Context, script string) (string, <-chan answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return "", nil, a.err
	}
	id := strconv.FormatInt(lastID.Add(1), 10)
	result := make(chan answer, 1)
	a.waiting[id] = result
	line := id + " " + base64.StdEncoding.EncodeToString([]byte(script)) + " .\n"
	// A guest that does not read must not hold the caller beyond its time.
	if deadline, ok := ctx.Deadline(); ok {
		if err := a.conn.SetWriteDeadline(deadline); err != nil {
			return "", nil, fmt.Errorf("agent port: %w", err)
		}
	}
	if _, err := a.conn.Write([]byte(line)); err != nil {
		delete(a.waiting, id)
		return "", nil, fmt.Errorf("agent port: %w", err)
	}
	return id, result, nil
}

func (a *agent) read() {
	lines := bufio.NewScanner(a.conn)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		// A reset can cut a line short: what is no whole frame is dropped, the hello that
		// follows says why.
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 2 && strings.HasSuffix(words[0], "hello"):
			a.greet()
		case (len(words) == 3 || len(words) == 4) && words[0] == "done":
			a.deliver(words[1], parseAnswer(words[2:]))
		}
	}
	err := lines.Err()
	if err == nil {
		err = net.ErrClosed
	}
	a.fail(fmt.Errorf("agent port: %w", err))
}

func parseAnswer(words []string) answer {
	code, err := strconv.Atoi(words[0])
	if err != nil {
		return answer{err: fmt.Errorf("agent port: exit code %q", words[0])}
	}
	if len(words) == 1 {
		return answer{code: code}
	}
	output, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return answer{err: fmt.Errorf("agent port: output: %w", err)}
	}
	return answer{code: code, output: string(output)}
}

func (a *agent) deliver(id string, r answer) {
	a.mu.Lock()
	result := a.waiting[id]
	delete(a.waiting, id)
	a.mu.Unlock()
	if result != nil {
		result <- r
	}
}

func (a *agent) greet() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(ErrRebooted)
	a.boots++
	close(a.hello)
	a.hello = make(chan struct{})
}

func (a *agent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.drop(err)
	close(a.hello)
	a.hello = make(chan struct{})
}

// drop ends every waiting command; the caller holds mu.
func (a *agent) drop(err error) {
	for id, result := range a.waiting {
		result <- answer{err: err}
		delete(a.waiting, id)
	}
}

// bootCount is the number of times that the guest came up.
func (a *agent) bootCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boots
}

// waitBoot waits until the guest has come up more than after times.
func (a *agent) waitBoot(ctx context.Context, after int) error {
	for {
		a.mu.Lock()
		boots, hello, err := a.boots, a.hello, a.err
		a.mu.Unlock()
		switch {
		case boots > after:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-hello:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the guest to boot: %w", ctx.Err())
		}
	}
}
