//go:build e2e

package e2e

import (
	"flag"
	"strconv"
	"testing"

	"github.com/belay-vm/belay/tools/guest"
)

var traceRequests = flag.Uint64("trace.requests", 500_000,
	"how many requests each of TestTraceCountsSplit and TestTraceCountsPacked sends")

func TestTraceCountsSplit(t *testing.T) { testTraceCounts(t) }

func TestTraceCountsPacked(t *testing.T) { testTraceCounts(t, "--packed") }

// testTraceCounts compares what the maps say, the tracer's and the daemon's own, with what was
// sent: exactly, with checkpoints in between, and with data of two size classes.
func testTraceCounts(t *testing.T, more ...string) {
	if !mayTrace(t) {
		return
	}
	w := newWorld(t, "256M", guest.Disk{Queues: 2})
	before := w.load(append(more, "--requests", "1000", "--op", "write")...) // before anybody counts
	w.count()
	n := *traceRequests
	small := w.load(append(more, "--requests", strconv.FormatUint(n*9/10, 10), "--op", "rw", "--mix", "40",
		"--depth", "32", "--flush-every", "300", "--checkpoint-every", "100ms", "--checkpoint-volume", w.volume)...)
	large := w.load(append(more, "--requests", strconv.FormatUint(n/10, 10), "--op", "rw", "--mix", "60",
		"--depth", "8", "--bs", "20K", "--seed", "2")...)
	want := sum(small, large)
	if want["read"].Requests+want["write"].Requests != n || small.Checkpoints == 0 || small.Flushes == 0 {
		t.Fatalf("the load generator sent %+v and %+v", small, large)
	}
	for name, got := range w.traced() {
		if got.count != want[name] {
			t.Errorf("io_parts has %s: %+v, want %+v", name, got.count, want[name])
		}
		delete(want, name)
	}
	for name, c := range want {
		t.Errorf("io_parts has no %s, want %+v", name, c)
	}
	want = sum(before, small, large)
	for name, got := range w.counted() {
		if got != want[name] {
			t.Errorf("io_count has %s: %+v, want %+v", name, got, want[name])
		}
	}
	t.Logf("%d requests, %d flushes, %d checkpoints", n, small.Flushes, small.Checkpoints)
	w.stop()
}

// sum is what was sent of each type, by loads each with blocks of one size.
func sum(loads ...sent) map[string]count {
	all := map[string]count{}
	for _, s := range loads {
		bs := s.Bytes / s.Requests
		for name, n := range map[string]uint64{"read": s.Reads, "write": s.Requests - s.Reads, "flush": s.Flushes} {
			if n == 0 {
				continue
			}
			c := all[name]
			c.Requests += n
			if name != "flush" {
				c.Bytes += n * bs
			}
			all[name] = c
		}
	}
	return all
}
