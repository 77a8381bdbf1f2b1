package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/hist"
)

func TestVolumeArg(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/bin/belay serve /var/lib/belay/web --socket-path s": "/var/lib/belay/web",
		"belay serve --num-queues 2 web --fd=3 --memory-slots":    "web",
		"belay --json serve web --fd 3":                           "web",
		"vhost-user-blk --fd=3 --blk-file=web":                    "web",
		"belay vhost-user-blk --blk-file web --read-only":         "web",
		"belay status web":                                        "",
		"belay serve":                                             "",
		"belay serve web --no-such-flag":                          "",
		"belay":                                                   "",
		"cat serve web":                                           "",
	} {
		if got := volumeArg(strings.Fields(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestBetween: 2 s between two readings of a queue that reads and one that writes.
func TestBetween(t *testing.T) {
	var before, after [2]blk.QueueStats
	count := func(k *blk.KindStats, n, bytes, ns uint64) {
		k.Requests += n
		k.Bytes += n * bytes
		k.LatencyNs += n * ns
		k.Latency[hist.Slot(ns)] += n
	}
	count(&before[0].Kinds[blk.KindRead], 7, 4096, 5_000_000)
	after[0] = before[0]
	count(&after[0].Kinds[blk.KindRead], 200, 4096, 100_000)
	count(&after[1].Kinds[blk.KindWrite], 100, 512, 400_000)
	after[1].Kinds[blk.KindWrite].Errors = 4
	first, second := loadOf(before[:]), loadOf(after[:])
	first.At, second.At = 1e9, 3e9
	v := topVolume{Path: "web", PID: 7, State: "in use", Checkpoints: 3}
	v.between(first, second)
	if v.Reads != 100 || v.Writes != 50 || v.IOPS != 150 || v.ReadBytes != 409600 || v.WriteBytes != 25600 ||
		v.Errors != 2 || v.Mean != 200_000 || v.Depth != 0.03 {
		t.Errorf("%+v", v)
	}
	if math.Abs(float64(v.P99)/400_000-1) > 0.1 {
		t.Errorf("p99 is %d", v.P99)
	}
	refused := topVolume{Path: "other", State: "permission denied",
		Error: &control.Error{Message: "permission denied"}}
	table := topTable([]topVolume{v, refused})
	if !strings.Contains(table, "web     7    100      50 ") || !strings.Contains(table, "permission denied") {
		t.Errorf("table:\n%s", table)
	}
	if !strings.Contains(topTable(nil), "no volume") {
		t.Error("nothing is said about nothing")
	}
	var same topVolume
	same.between(second, second)
	if same != (topVolume{}) {
		t.Errorf("no time between: %+v", same)
	}
}

func TestTopPageFits(t *testing.T) {
	p := &topPage{}
	if p.Render(80, 24, true) == "" {
		t.Error("nothing is shown before the first reading")
	}
	p.line = topLine{Time: time.Unix(1, 0), Volumes: make([]topVolume, 50)}
	if n := strings.Count(p.Render(40, 10, true), "\n"); n != 9 {
		t.Errorf("%d lines", n+1)
	}
}
