package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/belay-vm/belay/internal/probe"
)

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func one(queue uint16) []probe.Request {
	return []probe.Request{{Looked: 1, Taken: 2, Settled: 3, Published: 4, Bytes: 512, Queue: queue}}
}

// mustBeGone fails if anything is left of a volume's pins, and removes it.
func mustBeGone(t *testing.T, name string) {
	t.Helper()
	if exists(PinDir(name)) {
		t.Errorf("%s is still there", PinDir(name))
	}
}

// The memory of the counters is that of the maps, and the pins go with their owner.
func TestCounters(t *testing.T) {
	const queues = 3
	name := testName("test.counters")
	c, err := OpenCounters(name, queues)
	if err != nil {
		t.Fatal(err)
	}
	if c.Note != "" || len(c.Count) != queues*CountBytes || len(c.Latency) != queues*LatencyBytes {
		t.Errorf("%q, %d and %d bytes", c.Note, len(c.Count), len(c.Latency))
	}
	binary.LittleEndian.PutUint64(c.Count[CountBytes+32:], 42) // second queue, writes, requests
	value := make([]byte, CountBytes)
	if err := c.maps.Maps[countersMapIoCount].Lookup(uint32(1), value); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(value[32:]); got != 42 {
		t.Errorf("the map says %d", got)
	}
	second, err := OpenCounters(name, 1)
	if err != nil || !strings.Contains(second.Note, errTaken.Error()) {
		t.Errorf("a second owner: %v, %q", err, second.Note)
	}
	if err := errors.Join(second.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	mustBeGone(t, name)
}

// What a process has pinned that was killed is replaced by the next.
func TestStalePins(t *testing.T) {
	name := testName("test-stale")
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []string{byDaemon, byTracer} {
		p, err := claim(name, owner, fmt.Sprintf("process %d since 1", dead.ProcessState.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		spec, err := loadCounters()
		if err != nil {
			t.Fatal(err)
		}
		c := &Counters{pins: p}
		if c.maps, err = ebpf.NewCollection(spec); err != nil {
			t.Fatal(err)
		}
		if err := p.pinMaps(c.maps); err != nil {
			t.Fatal(err)
		}
		c.maps.Close()
	}
	c, err := OpenCounters(name, 1)
	if err != nil || c.Note != "" {
		t.Fatalf("%v, %q", err, c.Note)
	}
	tracer := start(t).attach(Options{Name: name})
	if len(tracer.Notes()) != 0 {
		t.Errorf("notes: %q", tracer.Notes())
	}
	if err := errors.Join(tracer.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	mustBeGone(t, name)
}

// Pinned links count on without the tracer until they are unpinned.
func TestPin(t *testing.T) {
	name := testName("test-pin")
	p := start(t)
	tracer, err := Attach(Options{PID: p.pid, Name: name, Kernel: true, Pin: true})
	if err != nil {
		t.Fatal(err)
	}
	p.requests(one(0), 0)
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	p.requests(one(0), 0)
	if n := pinnedRequests(t, name); n != 2 {
		t.Errorf("%d requests counted, want 2", n)
	}
	if _, err := Attach(Options{PID: p.pid, Name: name, Pin: true}); !errors.Is(err, errTaken) {
		t.Errorf("pinned twice: %v", err)
	}
	live := p.attach(Options{Name: name})
	if len(live.Notes()) != 1 {
		t.Errorf("notes of another tracer: %q", live.Notes())
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(name); err != nil {
		t.Error(err)
	}
	mustBeGone(t, name)
	if err := Unpin(name); err == nil {
		t.Error("unpinned twice")
	}
}

func pinnedRequests(t *testing.T, name string) uint64 {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(PinDir(name), traceMapIoParts), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	var parts Parts
	if err := m.Lookup(Key{0, probe.Read, Size4K}, &parts); err != nil {
		t.Fatal(err)
	}
	return parts.Requests
}

func TestMissing(t *testing.T) {
	var m *Missing
	for what, o := range map[string]Options{
		"process":      {PID: 1 << 30},
		"probe points": {PID: os.Getpid(), Program: "/bin/true"},
	} {
		_, err := Attach(o)
		if !errors.As(err, &m) || !strings.Contains(m.What, what) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
