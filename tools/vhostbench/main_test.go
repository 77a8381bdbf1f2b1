package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/vhostuser"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a back end in this process.
type backend struct {
	*vhostuser.Server
	socket string
	die    context.CancelFunc
}

// serve starts a back end that does nothing.
func serve(t *testing.T, d vhostuser.Device) *backend {
	t.Helper()
	b := &backend{Server: vhostuser.NewServer(d, nil, vhostuser.Options{})}
	b.socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, b.die = context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Serve(ctx, l) }()
	t.Cleanup(func() {
		b.die()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *backend) completed() (n int64) {
	for _, q := range b.Stats().Requests {
		n += int64(q)
	}
	return n
}

// bench runs the program and returns what it printed.
func bench(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestExactCounts : what is asked for is sent, no more and no less, and all of it is counted.
func TestExactCounts(t *testing.T) {
	for _, row := range []struct {
		args    string
		flushes int64
	}{
		{"--op read --requests 2007", 0},
		{"--op read --requests 2007 --packed", 0},
		{"--op write --requests 1000 --flush-every 10", 99}, // none follows the last write
		{"--op rw --requests 2007 --queues 3 --wait eventfd --depth 5", 0},
		{"--op write --requests 5000 --wait eventfd --packed --queues 2 --depth 1 --seq", 0},
		{"--op read --requests 1 --queues 2", 0},
		{"--fill --queues 2 --bs 4096 --range 4M", 1},
		{"--fill", 1},
	} {
		t.Run(row.args, func(t *testing.T) {
			b := serve(t, &nullDevice{bytes: 64<<20 + 512})
			args := append([]string{"run", "--json", "--socket-path", b.socket}, strings.Fields(row.args)...)
			code, stdout, stderr := bench(args...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			var r result
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatal(err)
			}
			var want int64
			if _, after, ok := strings.Cut(row.args, "--requests "); ok {
				_, _ = fmt.Sscan(after, &want)
			}
			switch {
			case strings.Contains(row.args, "--range"):
				want = 4 << 20 / 4096
			case want == 0:
				want = 65 // 64 of 1 MiB, and the odd sector
			}
			if r.Requests != want || r.Errors != 0 || r.Seconds <= 0 {
				t.Errorf("%d requests and %d errors in %v s, want %d", r.Requests, r.Errors, r.Seconds, want)
			}
			if !strings.Contains(row.args, "--fill") && r.Flushes != row.flushes {
				t.Errorf("%d flushes, want %d", r.Flushes, row.flushes)
			}
			if got := b.completed(); got != want+row.flushes {
				t.Errorf("the back end completed %d, want %d", got, want+row.flushes)
			}
			if r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P999 || r.Latency.P999 > r.Latency.Max {
				t.Errorf("latencies %+v", r.Latency)
			}
		})
	}
}

// TestFields : the fields are those that tools/bench reads.
func TestFields(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	code, stdout, stderr := bench("run", "--json", "--socket-path", b.socket, "--op", "write",
		"--flush-every", "2", "--sure", "--duration", "30ms", "--ramp", "5ms", "--pid", "1")
	if code != 0 {
		t.Fatal(stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`op seq bs depth queues packed wait seconds requests reads flushes bytes
		iops mib_per_s lat_ns sure_ns flush_ns cpu_user_ns_per_req cpu_sys_ns_per_req cpu_ns_per_req
		client_cpu_ns_per_req client_busy_ns_per_req checkpoints errors`) {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("nobody knows of %v", got)
	}
}

// TestDuration : a run lasts as long as it was told to, after the ramp.
func TestDuration(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	begin := time.Now()
	code, stdout, stderr := bench("run", "--json", "--socket-path", b.socket,
		"--duration", "60ms", "--ramp", "40ms")
	if code != 0 {
		t.Fatal(stderr)
	}
	var r result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if all := time.Since(begin).Seconds(); r.Seconds < 0.06 || r.Seconds > all-0.04 {
		t.Errorf("counted for %.3f s of %.3f s", r.Seconds, all)
	}
	if r.Requests >= b.completed() {
		t.Errorf("%d requests of %d counted: the ramp is among them", r.Requests, b.completed())
	}
}

// TestDeath : a back end that dies in the middle of a run is one clear error.
func TestDeath(t *testing.T) {
	for _, wait := range []string{waitPoll, waitEventfd} {
		t.Run(wait, func(t *testing.T) {
			b := serve(t, &nullDevice{bytes: 1 << 20})
			ticks := time.NewTicker(time.Millisecond)
			defer ticks.Stop()
			go func() {
				for range ticks.C {
					if b.completed() > 1000 {
						b.die()
						return
					}
				}
			}()
			code, stdout, stderr := bench("run", "--socket-path", b.socket, "--duration", "1h", "--wait", wait)
			if code != 1 || stdout != "" || stderr != "vhostbench: the back end hung up\n" {
				t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

// TestInterrupt : a run ends when the user says so.
func TestInterrupt(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	var out, errs bytes.Buffer
	code := execute(ctx, []string{"run", "--socket-path", b.socket, "--duration", "1h"}, &out, &errs)
	if code != 1 || errs.String() != "vhostbench: interrupted\n" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// TestVerify : a back end that does not give back what was written is found out.
func TestVerify(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	code, _, stderr := bench("run", "--socket-path", b.socket, "--op", "rw", "--verify", "--range", "64K",
		"--depth", "32", "--requests", "100000")
	if code != 1 || !strings.Contains(stderr, "verify: byte ") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestCheckpoints : the command runs during the run, and a run with one that fails has failed.
func TestCheckpoints(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	run := func(command string) (int, string, string) {
		return bench("run", "--socket-path", b.socket, "--json", "--duration", "300ms", "--ramp", "0s",
			"--checkpoint-every", "10ms", "--checkpoint-command", command)
	}
	code, stdout, stderr := run("true")
	var r result
	if err := json.Unmarshal([]byte(stdout), &r); code != 0 || err != nil || r.Checkpoints == 0 {
		t.Errorf("exit code %d, %d checkpoints: %s", code, r.Checkpoints, stderr)
	}
	code, _, stderr = run("echo no room; exit 3")
	if code != 1 || stderr != "vhostbench: checkpoint command: exit status 3: no room\n" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestUsage : what cannot be is refused in one line, with exit code 2.
func TestUsage(t *testing.T) {
	b := serve(t, &nullDevice{bytes: 1 << 20})
	for _, row := range []struct{ args, want string }{
		{"run", "--socket-path is missing"},
		{"null", "--socket-path is missing"},
		{"run --socket-path S --op trim", "--op is read, write or rw"},
		{"run --socket-path S --wait up", "--wait is poll or eventfd"},
		{"run --socket-path S --depth 0", "--depth is between 1 and 1024"},
		{"run --socket-path S --bs 1000", "no multiple of 512"},
		{"run --socket-path S --fill --op read", "--fill and --op exclude each other"},
		{"run --socket-path S --requests 5 --ramp 1s", "--requests excludes"},
		{"run --socket-path S --checkpoint-every 1s", "--checkpoint-command"},
		{"run --socket-path S --verify", "--verify needs"},
		{"run --socket-path S --range 2M", "--range is 2097152 bytes and the disk has 1048576"},
		{"run --socket-path S --bs 1M --queues 2", "too few"},
		{"run --socket-path S more", "unknown command"},
		{"walk", "unknown command"},
	} {
		args := strings.Fields(strings.ReplaceAll(row.args, " S", " "+b.socket))
		code, stdout, stderr := bench(args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, row.want) {
			t.Errorf("%s: exit code %d, %q", row.args, code, stderr)
		}
	}
	code, _, stderr := bench("run", "--socket-path", filepath.Join(t.TempDir(), "none"))
	if code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("no back end: exit code %d, %q", code, stderr)
	}
}
