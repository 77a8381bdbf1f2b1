package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/certtest"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/qmp/qmptest"
)

// monitor PATH plays a QEMU's monitor until it is terminated. It is a process of its own, because belay may
// end what it takes for QEMU.
func monitor(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := qmptest.New(outside{}, qmptest.Config{Path: args[0]})
	<-ctx.Done()
	s.Close()
	return nil
}

// outside stands for a test where there is none.
type outside struct{ testing.TB }

func (outside) Helper()        {}
func (outside) Cleanup(func()) {}
func (outside) Fatal(why ...any) {
	fmt.Fprintln(os.Stderr, why...)
	os.Exit(1)
}

// program starts one of this binary's programs in a directory; it is killed at the end.
func program(t *testing.T, dir, name string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args, cmd.Dir = append([]string{name}, args...), dir
	said := new(bytes.Buffer)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // or it has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s %q:\n%s", name, args, said)
		}
	})
	return cmd, said
}

// freePort is an address of this host at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// bad is a pair of which something is wrong.
type bad struct {
	t       *testing.T
	dir     string
	sizes   [2]string                // of both volumes
	marks   [2]*checkpoint.PairState // what they know of a pair
	flags   [2][]string
	peer    string // instead of a secondary of ours
	monitor string // instead of a played QEMU
}

// pairState reads what a stopped volume knows.
func pairState(t *testing.T, dir string, change *checkpoint.PairState) (state checkpoint.PairState) {
	t.Helper()
	s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true})
	if err == nil && change != nil {
		err = s.SetPair(*change)
	}
	if err != nil {
		t.Fatal(err)
	}
	state, _ = s.Pair()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return state
}

// status asks a running side; an error says that it does not answer yet.
func (b *bad) status(volume string) (*pairview.Status, error) {
	c, err := control.Dial(filepath.Join(b.dir, volume))
	if err != nil {
		return nil, err
	}
	st, err := c.Status(context.Background())
	if err = errors.Join(err, c.Close()); err == nil && st.Pair == nil {
		err = errors.New("no pair")
	}
	return st.Pair, err
}

// run starts the pair, and returns what the primary says is wrong.
func (b *bad) run(says string) (problem string) {
	t := b.t
	t.Helper()
	for i, name := range []string{"p", "s"} {
		dir := filepath.Join(b.dir, name)
		if code := newApp(nil, new(bytes.Buffer), os.Stderr).run(context.Background(),
			[]string{"create", dir, "--size", b.sizes[i]}); code != 0 {
			t.Fatalf("create: %d", code)
		}
		if b.marks[i] != nil {
			pairState(t, dir, b.marks[i])
		}
	}
	if b.monitor == "" {
		b.monitor = "q"
		program(t, b.dir, "monitor", "q")
	}
	if b.peer == "" {
		b.peer = freePort(t)
		program(t, b.dir, "belay", append([]string{"pair", "secondary", "s", "--socket-path", "sd", "--qmp", "none",
			"--manual", "--listen", b.peer}, b.flags[1]...)...)
		if err := waitSocket([]string{filepath.Join(b.dir, "s", control.SocketName)}); err != nil {
			t.Fatal(err)
		}
	}
	program(t, b.dir, "belay", append([]string{"pair", "primary", "p", "--socket-path", "pd", "--qmp", b.monitor,
		"--manual", "--peer", b.peer, "--migrate-uri", "tcp:127.0.0.1:1"}, b.flags[0]...)...)
	err := await(says, func() bool {
		st, err := b.status("p")
		if err == nil {
			problem = st.Problem
		}
		return strings.Contains(problem, says)
	})
	if err != nil {
		t.Fatalf("%v; it says %q", err, problem)
	}
	return problem
}

// speaker answers whoever comes with some bytes, and listens until he hangs up.
func speaker(t *testing.T, text []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(text)
			_, _ = new(bytes.Buffer).ReadFrom(c)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// future is the hello of a version that nobody speaks yet (docs/MIRROR.md).
func future() []byte {
	b := []byte("BELAYMIR")
	b = binary.LittleEndian.AppendUint16(b, 1000)
	b = binary.LittleEndian.AppendUint16(b, 1001)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Update(0x484d5242, crc32.MakeTable(crc32.Castagnoli), b))
}

// TestPairBadInput has pairs that cannot be one: the primary's status has one clear line, its guest is served
// on, and no volume has changed but for what the primary says of itself.
func TestPairBadInput(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes: left out with -short")
	}
	ours, theirs := certtest.New(t), certtest.New(t)
	tls := func(a *certtest.Authority) []string {
		cert, key := a.Make("127.0.0.1", nil)
		return []string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", ours.File}
	}
	plain := [2][]string{{"--plaintext"}, {"--plaintext"}}
	mark := checkpoint.PairState{Pair: "pair", Role: checkpoint.RoleSecondary, Generation: 1}
	other, newer := mark, mark
	other.Peer, newer.Generation = [16]byte{9}, 7
	for _, row := range []struct {
		name, says string
		bad
	}{
		{"wrong peer", "the peer belongs to another pair: its name is", bad{
			flags: [2][]string{{"--plaintext", "--pair", "a"}, {"--plaintext", "--pair", "b"}}}},
		{"wrong volume", "the peer's disk is another one", bad{flags: plain,
			marks: [2]*checkpoint.PairState{nil, &other}}},
		{"older generation", "older generation", bad{flags: plain,
			marks: [2]*checkpoint.PairState{nil, &newer}}},
		{"sizes", "the disks have different sizes", bad{flags: plain, sizes: [2]string{"4M", "8M"}}},
		{"certificate", "certificate not accepted", bad{flags: [2][]string{tls(ours), tls(theirs)}}},
		{"version", "no version of the mirror protocol in common: the peer speaks 1000 to 1001", bad{
			flags: plain, peer: speaker(t, future())}},
		{"no mirror", "the peer does not speak belay's mirror protocol", bad{flags: plain,
			peer: speaker(t, []byte("SSH-2.0-OpenSSH_9.2p1 and more than twenty bytes\r\n"))}},
		{"no QEMU there", "its QEMU is not there yet", bad{flags: plain}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := row.bad
			b.t, b.dir = t, t.TempDir()
			if b.sizes[0] == "" {
				b.sizes = [2]string{"4M", "4M"}
			}
			problem := b.run(row.says)
			if strings.ContainsAny(problem, "\n\r") || len(problem) > 300 {
				t.Errorf("not one clear line: %q", problem)
			}
			if st, err := b.status("p"); err != nil || st.State != "alone" || st.Generation != 1 {
				t.Errorf("the primary is %+v, %v", st, err)
			}
			b.unchanged(row.marks[1])
		})
	}
}

// unchanged wants the secondary's volume as it was.
func (b *bad) unchanged(mark *checkpoint.PairState) {
	b.t.Helper()
	st, err := b.status("s")
	if errors.Is(err, control.ErrNotServed) {
		return // there is none
	}
	want := uint64(0)
	if mark != nil {
		want = mark.Generation
	}
	if err != nil || st.State != "waiting" || st.Generation != want {
		text, _ := json.Marshal(st)
		b.t.Errorf("the secondary is %s, %v", text, err)
	}
}

// TestPairNoQMP has a monitor socket behind which no QMP is spoken: the process ends, with one line.
func TestPairNoQMP(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes: left out with -short")
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "q"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = c.Write([]byte("220 mail.example ESMTP\r\n"))
		}
	}()
	if code := newApp(nil, new(bytes.Buffer), os.Stderr).run(context.Background(),
		[]string{"create", filepath.Join(dir, "p"), "--size", "4M"}); code != 0 {
		t.Fatalf("create: %d", code)
	}
	belay, said := program(t, dir, "belay", "pair", "primary", "p", "--socket-path", "pd", "--qmp", "q",
		"--manual", "--plaintext", "--log-level", "error")
	ended := make(chan error, 1)
	go func() { ended <- belay.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	last := lines[len(lines)-1]
	if belay.ProcessState.ExitCode() != 1 || !strings.HasPrefix(last, "belay: p: ") ||
		!strings.Contains(last, "not a QMP socket") {
		t.Errorf("it ends with %d and says %q", belay.ProcessState.ExitCode(), lines)
	}
}
