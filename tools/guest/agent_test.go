package guest

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeGuest is the guest's end of a port, played by the test.
type fakeGuest struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
}

func newFakeGuest(t *testing.T) (*agent, *fakeGuest) {
	host, conn := net.Pipe()
	t.Cleanup(func() { host.Close(); conn.Close() })
	return newAgent(host), &fakeGuest{t, conn, bufio.NewScanner(conn)}
}

func (g *fakeGuest) say(format string, args ...any) {
	g.t.Helper()
	if _, err := fmt.Fprintf(g.conn, format+"\n", args...); err != nil {
		g.t.Error(err)
	}
}

// next is the next command: its id and script.
func (g *fakeGuest) next() (id, script string) {
	if !g.lines.Scan() {
		g.t.Error("no command came")
		return "", ""
	}
	words := strings.Fields(g.lines.Text())
	if len(words) != 3 || words[2] != "." {
		g.t.Errorf("%q is no command", words)
		return "", ""
	}
	raw, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		g.t.Error(err)
	}
	return words[0], string(raw)
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRunReturnsOutputAndExitCode(t *testing.T) {
	a, g := newFakeGuest(t)
	go func() {
		id, script := g.next()
		g.say("done %s 3 %s", id, encoded("ran "+script+"\ndone 1 0 \n"))
	}()
	out, err := a.run(short(t), "two\nlines")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || out != "ran two\nlines\ndone 1 0 \n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAnswersMayComeInAnyOrder(t *testing.T) {
	a, g := newFakeGuest(t)
	go func() {
		first, what := g.next()
		second, _ := g.next()
		g.say("done %s 0 %s", second, encoded("the other"))
		g.say("done %s 0 %s", first, encoded(what))
	}()
	results := make(chan string, 2)
	for _, script := range []string{"a", "b"} {
		go func() {
			out, err := a.run(short(t), script)
			if out != script && out != "the other" {
				t.Errorf("%s gave %q, %v", script, out, err)
			}
			results <- out
		}()
	}
	<-results
	<-results
}

func TestHelloEndsWhatRan(t *testing.T) {
	a, g := newFakeGuest(t)
	go func() {
		g.say("hello first")
		g.next()
		g.say("do") // a line cut short by the reset
		g.say("hello second")
	}()
	if err := a.waitBoot(short(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.run(short(t), "reboot -f"); !errors.Is(err, ErrRebooted) {
		t.Errorf("got %v", err)
	}
	if err := a.waitBoot(short(t), 1); err != nil {
		t.Error(err)
	}
}

func TestClosedPortEndsEverything(t *testing.T) {
	a, g := newFakeGuest(t)
	go func() {
		g.next()
		g.conn.Close()
	}()
	if _, err := a.run(short(t), "sleep 1000"); err == nil {
		t.Error("a command outlived its port")
	}
	if err := a.waitBoot(short(t), 0); err == nil {
		t.Error("a boot was seen on a closed port")
	}
	if _, err := a.run(short(t), "true"); err == nil {
		t.Error("a command was taken after the port's end")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	a, g := newFakeGuest(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		g.next()
		cancel()
	}()
	if _, err := a.run(ctx, "sleep 1000"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMangledAnswerIsAnError(t *testing.T) {
	for _, line := range []string{"done %s x", "done %s 0 ???"} {
		a, g := newFakeGuest(t)
		go func() {
			id, _ := g.next()
			g.say(line, id)
		}()
		if _, err := a.run(short(t), "true"); err == nil {
			t.Errorf("%q was taken for an answer", line)
		}
	}
}
