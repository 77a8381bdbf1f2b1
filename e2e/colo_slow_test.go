//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// tracedPair is what a tracer of the primary has told.
type tracedPair struct {
	acks            []uint64 // ns that the machine stood still for an acknowledgement
	requests, total uint64   // of the guest, and their time in ns
}

// traced is an interval of belay trace --json, as far as it is of interest here.
type traced struct {
	Requests uint64
	Types    []struct {
		Requests uint64
		Parts    []struct {
			Mean uint64 `json:"mean_ns"`
		}
	}
	Events []struct {
		Kind string
		Ns   uint64
	}
}

func (p *tracedPair) add(iv *traced) {
	for _, e := range iv.Events {
		if e.Kind == "epoch acknowledged by the partner" {
			p.acks = append(p.acks, e.Ns)
		}
	}
	for _, kind := range iv.Types {
		p.requests += kind.Requests
		p.total += kind.Requests * kind.Parts[0].Mean
	}
}

// mean is the mean time of the guest's requests.
func (p *tracedPair) mean() uint64 { return p.total / max(p.requests, 1) }

// TestColoSlowPeer has a secondary that stands still now and then: a trace of the primary shows it in
// the time until an epoch is acknowledged, and not in the guest's requests.
func TestColoSlowPeer(t *testing.T) {
	if !mayTrace(t) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.follow(ctx)
	tracer := exec.CommandContext(ctx, binary(), "trace", strconv.Itoa(s.servers[pair.A].PID()), "--json",
		"--interval", "250ms")
	out, err := tracer.StdoutPipe()
	s.must("tracer", err)
	s.must("tracer", tracer.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<22)
	usual := s.watch(lines, 8, func() {})
	slow := s.watch(lines, 8, func() { s.hold(pair.B, 400*time.Millisecond) })
	s.must("tracer", tracer.Process.Signal(syscall.SIGINT))
	s.must("tracer", tracer.Wait())
	slices.Sort(usual.acks)
	median, worst := usual.acks[len(usual.acks)/2], slices.Max(slow.acks)
	t.Logf("acknowledged after %d ns, slow %d ns; requests took %d ns, slow %d ns", median, worst,
		usual.mean(), slow.mean())
	if worst < 20*median {
		t.Error("the trace does not show the slow peer")
	}
	if slow.mean()-min(slow.mean(), usual.mean()) > worst/10 {
		t.Error("the guest's requests show it, too")
	}
}

// watch reads intervals until so many epochs were acknowledged, and does something after each of them.
func (p *sides) watch(lines *bufio.Scanner, acks int, do func()) (seen tracedPair) {
	p.t.Helper()
	for did := 0; len(seen.acks) < acks; {
		if len(seen.acks) > did {
			did = len(seen.acks)
			do()
		}
		if !lines.Scan() {
			p.t.Fatalf("the tracer has ended: %v", lines.Err())
		}
		var iv traced
		p.must("interval", json.Unmarshal(lines.Bytes(), &iv))
		seen.add(&iv)
	}
	return seen
}

// hold stops a side's belay for a while.
func (p *sides) hold(id pair.ID, span time.Duration) {
	pid := p.servers[id].PID()
	p.must("stop", syscall.Kill(pid, syscall.SIGSTOP))
	<-time.After(span)
	p.must("go on", syscall.Kill(pid, syscall.SIGCONT))
}
