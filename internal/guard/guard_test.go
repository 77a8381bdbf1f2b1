package guard

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// limit is for what must not take for ever.
const limit = 50 * time.Second

// sleeper is a process that is guarded.
type sleeper struct {
	t     *testing.T
	cmd   *exec.Cmd
	pidfd *os.File
	gone  chan struct{}
}

func newSleeper(t *testing.T) *sleeper {
	t.Helper()
	s := &sleeper{t: t, cmd: exec.Command("sleep", "1000"), gone: make(chan struct{})}
	must(t, s.cmd.Start())
	s.pidfd = pidfdOf(t, s.pid())
	go func() {
		_ = s.cmd.Wait() // killed
		close(s.gone)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.gone
	})
	return s
}

func (s *sleeper) pid() int { return s.cmd.Process.Pid }

// ends waits until somebody has ended it.
func (s *sleeper) ends() {
	s.t.Helper()
	select {
	case <-s.gone:
	case <-time.After(limit):
		s.t.Fatal("the process lives")
	}
}

func (s *sleeper) lives() {
	s.t.Helper()
	if ended(s.pidfd) {
		s.t.Fatal("the process was ended")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pidfdOf(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	f := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { f.Close() })
	return f
}

// until waits for the end of any process by its pidfd.
func until(t *testing.T, process *os.File) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(limit/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil, n == 0:
			t.Fatalf("a process lives: %v", err)
		default:
			return
		}
	}
}

// belay is a process that has a guard at a sleeper.
type belay struct {
	*exec.Cmd
	guard int      // process
	pidfd *os.File // of the guard
}

func newBelay(t *testing.T, s *sleeper, bound bool) *belay {
	t.Helper()
	state := map[bool]string{true: "bound", false: "left"}[bound]
	b := &belay{Cmd: exec.Command(os.Args[0], keeperVerb, strconv.Itoa(s.pid()), state)}
	b.Stderr = os.Stderr
	out, err := b.StdoutPipe()
	must(t, err)
	must(t, b.Start())
	t.Cleanup(func() { b.kill() })
	_, err = fmt.Fscan(out, &b.guard)
	must(t, err)
	b.pidfd = pidfdOf(t, b.guard)
	return b
}

func (b *belay) kill() {
	_ = b.Process.Kill() // it may have ended
	_ = b.Wait()         // with that
}

// TestKilled kills the one that looks after a process, which is ended with it where it was to be, and no
// guard stays.
func TestKilled(t *testing.T) {
	for _, bound := range []bool{true, false} {
		t.Run(fmt.Sprintf("bound=%v", bound), func(t *testing.T) {
			s := newSleeper(t)
			b := newBelay(t, s, bound)
			s.lives()
			b.kill()
			until(t, b.pidfd)
			if bound {
				s.ends()
			} else {
				s.lives()
			}
		})
	}
}

// TestSignals gives a guard what a service manager and a terminal give to all of a service, while its belay
// stands still: it is of a session of its own, and stays at its post.
func TestSignals(t *testing.T) {
	s := newSleeper(t)
	b := newBelay(t, s, true)
	if id, err := unix.Getsid(b.guard); err != nil || id != b.guard {
		t.Errorf("the guard %d is in session %d: %v", b.guard, id, err)
	}
	must(t, b.Process.Signal(unix.SIGSTOP))
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		must(t, unix.Kill(b.guard, sig))
	}
	b.kill()
	s.ends()
}

// TestEndOfProcess ends the guard with what it guards.
func TestEndOfProcess(t *testing.T) {
	s := newSleeper(t)
	b := newBelay(t, s, true)
	must(t, s.cmd.Process.Kill())
	until(t, b.pidfd)
}

// newKeeper is one in this process, and what it logs.
func newKeeper(t *testing.T) (*Keeper, *journal) {
	t.Helper()
	j := &journal{}
	k := New(hclog.New(&hclog.LoggerOptions{Output: j}))
	t.Cleanup(k.Close)
	return k, j
}

// TestClose ends the guarding in order: the last word counts.
func TestClose(t *testing.T) {
	for _, bound := range []bool{true, false} {
		s := newSleeper(t)
		k, _ := newKeeper(t)
		k.Bind(bound) // it may be said before there is a process
		k.Watch(s.pid(), s.pidfd)
		if why := k.Missing(); why != "" {
			t.Fatal(why)
		}
		k.Close()
		if bound {
			s.ends()
		} else {
			s.lives()
		}
		k.Watch(s.pid(), s.pidfd)
		if k.guardPID() != 0 {
			t.Error("a process is guarded after the end")
		}
	}
}

// TestGuardKilled has another guard follow one that was killed, and know what that one knew.
func TestGuardKilled(t *testing.T) {
	s := newSleeper(t)
	k, j := newKeeper(t)
	k.Watch(s.pid(), s.pidfd)
	k.Bind(true)
	first := k.guardPID()
	must(t, unix.Kill(first, unix.SIGKILL))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for now := first; now == first || now == 0; now = k.guardPID() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("no other guard came")
		}
	}
	s.lives()
	if why := k.Missing(); why != "" {
		t.Error(why)
	}
	if text := j.text(); !strings.Contains(text, "signal: killed") {
		t.Errorf("the log says %q", text)
	}
	k.Close()
	s.ends()
}

// TestNextProcess gives the keeper a process after the other, and one of them twice.
func TestNextProcess(t *testing.T) {
	first, second := newSleeper(t), newSleeper(t)
	k, _ := newKeeper(t)
	k.Watch(first.pid(), first.pidfd)
	old := k.guardPID()
	k.Watch(first.pid(), pidfdOf(t, first.pid()))
	if now := k.guardPID(); now != old {
		t.Errorf("the guard was %d and is %d", old, now)
	}
	of := pidfdOf(t, old)
	must(t, first.cmd.Process.Kill())
	first.ends()
	k.Watch(second.pid(), second.pidfd)
	until(t, of)
	k.Bind(true)
	k.Close()
	second.ends()
}

// TestMissing says why there is no guard, in one line, once.
func TestMissing(t *testing.T) {
	s := newSleeper(t)
	k, j := newKeeper(t)
	k.path = "/nonexistent"
	k.Watch(s.pid(), s.pidfd)
	k.Bind(true)
	if why := k.Missing(); !strings.Contains(why, "no such file") {
		t.Errorf("it is missing because of %q", why)
	}
	if n := strings.Count(j.text(), "\n"); n != 1 {
		t.Errorf("%d lines are logged:\n%s", n, j.text())
	}
	k.Watch(0, nil)
	if why := k.Missing(); !strings.Contains(why, "not to be seen") {
		t.Errorf("it is missing because of %q", why)
	}
	k.Close()
	s.lives()
}

// TestByHand starts a guard as nobody should.
func TestByHand(t *testing.T) {
	out, err := exec.Command(os.Args[0], Verb).CombinedOutput()
	if err == nil || !strings.Contains(string(out), ErrNotGuard.Error()) {
		t.Errorf("got %v and %q", err, out)
	}
}

// TestNil guards nothing.
func TestNil(t *testing.T) {
	var k *Keeper
	k.Watch(1, nil)
	k.Bind(true)
	k.Close()
	if why := k.Missing(); why != "" {
		t.Error(why)
	}
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept.String()
}
