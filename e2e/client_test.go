//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// clerkPort is where the guest takes records.
const clerkPort = 7

// patience is how long a client waits for an answer before it calls again: longer than a takeover takes.
const patience = 40 * time.Second

// client is outside. It has the guest's clerk take records, one after the other, and remembers what it was
// told.
type client struct {
	net  *pair.Net
	turn chan struct{} // taken while it speaks
	conn net.Conn
	in   *bufio.Reader

	mu    sync.Mutex
	told  map[int]string
	news  chan struct{} // closed and replaced with each record
	took  []time.Duration
	calls int   // connections
	cause error // why the last one ended
	fault error
}

// newClient has records taken until the test ends.
func newClient(t *testing.T, net *pair.Net) *client {
	c := &client{net: net, turn: make(chan struct{}, 1), told: map[int]string{}, news: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ctx.Err() == nil; n++ {
			c.put(ctx, fmt.Sprintf("record %d %016x", n, rand.Uint64()))
		}
		c.hangUp()
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// put has a record taken, or not: without an answer nobody knows.
func (c *client) put(ctx context.Context, text string) {
	select {
	case c.turn <- struct{}{}:
		defer c.resume()
	case <-ctx.Done():
		return
	}
	began := time.Now()
	answer, err := c.ask(ctx, "put "+text)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cause = err
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	number, err := strconv.Atoi(strings.TrimPrefix(answer, "ok "))
	if old, twice := c.told[number]; err != nil || twice {
		c.fault = fmt.Errorf("%q is answered by %q; told by that number was %q", text, answer, old)
	}
	c.told[number] = text
	c.took = append(c.took, time.Since(began))
	close(c.news)
	c.news = make(chan struct{})
}

// ask says a line to the clerk.
func (c *client) ask(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if c.conn == nil {
		conn, err := c.net.CallGuest(ctx, clerkPort)
		if err != nil {
			return "", err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
		c.mu.Lock()
		c.calls++
		c.mu.Unlock()
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // nothing waits longer
	defer stop()
	_, err := fmt.Fprintln(c.conn, line)
	answer := ""
	if err == nil {
		answer, err = c.in.ReadString('\n')
	}
	if err != nil {
		c.hangUp()
	}
	return strings.TrimSpace(answer), err
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// await waits until so many records more are told.
func (c *client) await(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		news, fault := c.news, c.fault
		c.mu.Unlock()
		if n == 0 || fault != nil {
			return fault
		}
		select {
		case <-news:
			n--
		case <-ctx.Done():
			return fmt.Errorf("%d records are missing: %w", n, ctx.Err())
		}
	}
}

// pause has it say nothing more until resume.
func (c *client) pause()  { c.turn <- struct{}{} }
func (c *client) resume() { <-c.turn }

// verify asks for everything that it was told is there. It is called in a pause.
func (c *client) verify(ctx context.Context) error {
	c.hangUp()
	var wrong []string
	for number, text := range c.told {
		answer, err := c.ask(ctx, "get "+strconv.Itoa(number))
		if err != nil {
			return err
		}
		if answer != "is "+text {
			wrong = append(wrong, fmt.Sprintf("%d is %q, not %q", number, answer, text))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %d of %d: %s", errLost, len(wrong), len(c.told), wrong[0])
	}
	return c.fault
}

// errLost says that something is not there that was told.
var errLost = errors.New("records are lost that were told to be durable")

// mark is how many records were told so far, and how many connections were made.
func (c *client) mark() [2]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return [2]int{len(c.took), c.calls}
}

// since describes what came after a mark, and before it.
func (c *client) since(mark [2]int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := slices.Clone(c.took[:mark[0]])
	slices.Sort(before)
	return fmt.Sprintf("%d records before, median %v, longest %v; the next took %v and %d new connections (%v)",
		mark[0], before[len(before)/2], before[len(before)-1], c.took[mark[0]], c.calls-mark[1], c.cause)
}
