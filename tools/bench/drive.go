package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// values are what a measurement showed.
type values map[report.Metric]float64

// latency is vhostbench's, in nanoseconds.
type latency struct {
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
}

// driven is what vhostbench says, as far as it is of interest here.
type driven struct {
	Requests  int64    `json:"requests"`
	IOPS      float64  `json:"iops"`
	MiBPerS   float64  `json:"mib_per_s"`
	Latency   latency  `json:"lat_ns"`
	Sure      *latency `json:"sure_ns"`
	Flush     *latency `json:"flush_ns"`
	CPU       float64  `json:"cpu_ns_per_req"`
	ClientCPU float64  `json:"client_cpu_ns_per_req"`
	Errors    int64    `json:"errors"`
}

// errNothing is returned for a measurement in which nothing was done.
var errNothing = errors.New("not one request was measured")

// drive loads a server once.
func (l *lab) drive(ctx context.Context, s *server, ld load, p placement) (values, error) {
	var points *checkpointer
	if ld.checkpoint != 0 {
		points = takeCheckpoints(ctx, s.control, ld.checkpoint)
	}
	out, err := l.output(ctx, l.vhostbench(s, ld, p)...)
	taken, failed := points.end(ctx)
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	v, err := parseDriven(out)
	if err != nil {
		return nil, err
	}
	for m, x := range taken {
		v[m] = x
	}
	return v, nil
}

// vhostbench is the command for a load. Each load has offsets of its own: who overwrites blocks in
// the order in which they were written the last time frees their old places in order, too.
func (l *lab) vhostbench(s *server, ld load, p placement) []string {
	l.seed++
	args := []string{l.o.vhostbench, "run", "--json", "--socket-path", s.socket,
		"--op", map[bool]string{true: "write", false: "read"}[ld.write],
		"--bs", strconv.Itoa(ld.bs), "--depth", strconv.Itoa(ld.depth), "--wait", p.how(l.o),
		"--seed", strconv.FormatUint(l.seed, 10), "--pid", strconv.Itoa(s.PID())}
	if ld.seq {
		args = append(args, "--seq")
	}
	if ld.sure {
		args = append(args, "--sure")
	}
	if ld.flushEvery != 0 {
		args = append(args, "--flush-every", strconv.Itoa(ld.flushEvery))
	}
	if ld.share != 0 {
		n := int64(ld.share * float64(l.o.bytes()/int64(ld.bs)))
		args = append(args, "--requests", strconv.FormatInt(n, 10))
	} else {
		args = append(args, "--duration", l.o.seconds.String(), "--ramp", l.o.ramp.String())
	}
	return pin(p.cpu(l.o), args...)
}

// fill writes the whole disk once, in order.
func (l *lab) fill(ctx context.Context, s *server) error {
	return l.run(ctx, pin(l.o.clientCPU, l.o.vhostbench, "run", "--fill", "--socket-path", s.socket)...)
}

func parseDriven(out []byte) (values, error) {
	var d driven
	if err := json.Unmarshal(out, &d); err != nil {
		return nil, fmt.Errorf("vhostbench's answer: %w", err)
	}
	switch {
	case d.Errors != 0:
		return nil, fmt.Errorf("%d requests failed", d.Errors)
	case d.Requests == 0:
		return nil, errNothing
	}
	v := values{report.IOPS: d.IOPS, report.Bandwidth: d.MiBPerS, report.CPU: d.CPU / 1000,
		report.ClientCPU: d.ClientCPU / 1000, report.P50: us(d.Latency.P50), report.P99: us(d.Latency.P99),
		report.P999: us(d.Latency.P999)}
	if d.Sure != nil {
		v[sureP50], v[sureP99] = us(d.Sure.P50), us(d.Sure.P99)
	}
	if d.Flush != nil {
		v[report.FlushP50], v[report.FlushP99] = us(d.Flush.P50), us(d.Flush.P99)
	}
	return v, nil
}

func us(ns int64) float64 { return float64(ns) / float64(time.Microsecond) }
