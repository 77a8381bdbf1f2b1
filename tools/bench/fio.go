package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// device is what the disk does when nobody stands between it and a program: fio on the raw file,
// on the back end's CPU.
type device struct{ name string }

var fio = device{"fio"}

func (d device) title() string { return d.name }
func (d device) what() string {
	return "fio with io_uring on a raw file, written in order; latencies without submission"
}
func (d device) needs() needs { return needs{fio: true} }

func (d device) prepare(ctx context.Context, l *lab) error {
	_, err := l.image(ctx, "raw", false)
	return err
}

func (d device) measure(ctx context.Context, l *lab, ld load, _ placement) (values, error) {
	path, err := l.image(ctx, "raw", false)
	if err != nil {
		return nil, err
	}
	out, err := l.output(ctx, pin(l.o.backendCPU, fioCommand(path, ld, l.o)...)...)
	if err != nil {
		return nil, err
	}
	return parseFio(out)
}

func fioCommand(path string, ld load, o *options) []string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
	return []string{fioProgram, "--name=bench", "--filename=" + path,
		"--size=" + strconv.FormatInt(o.bytes(), 10), "--ioengine=io_uring", "--direct=1",
		"--rw=" + fioMode(ld), "--bs=" + strconv.Itoa(ld.bs),
		"--iodepth=" + strconv.Itoa(ld.depth), "--time_based", "--runtime=" + ms(o.seconds),
		"--ramp_time=" + ms(o.ramp), "--norandommap", "--randrepeat=0", "--allow_file_create=0",
		"--output-format=json"}
}

func fioMode(ld load) string {
	mode := "read"
	if ld.write {
		mode = "write"
	}
	if !ld.seq {
		mode = "rand" + mode
	}
	return mode
}

// fioOutput is fio's JSON, as far as it is of interest here.
type fioOutput struct {
	Jobs []struct {
		Error   int     `json:"error"`
		Runtime float64 `json:"job_runtime"` // in milliseconds
		User    float64 `json:"usr_cpu"`     // in percent
		System  float64 `json:"sys_cpu"`
		Read    fioSide `json:"read"`
		Write   fioSide `json:"write"`
	} `json:"jobs"`
}

type fioSide struct {
	Requests   float64 `json:"total_ios"`
	IOPS       float64 `json:"iops"`
	Bandwidth  float64 `json:"bw_bytes"` // a second
	Completion struct {
		Percentile map[string]float64 `json:"percentile"`
	} `json:"clat_ns"`
}

var errFio = errors.New("fio's answer")

func parseFio(out []byte) (values, error) {
	// Notes may stand before the JSON.
	begin := bytes.IndexByte(out, '{')
	if begin < 0 {
		return nil, fmt.Errorf("%w has no JSON: %q", errFio, out[:min(len(out), 200)])
	}
	var o fioOutput
	if err := json.Unmarshal(out[begin:], &o); err != nil {
		return nil, fmt.Errorf("%w: %w", errFio, err)
	}
	if len(o.Jobs) != 1 || o.Jobs[0].Error != 0 {
		return nil, fmt.Errorf("%w is not that of one job without error", errFio)
	}
	job := o.Jobs[0]
	side := job.Read
	if side.Requests == 0 {
		side = job.Write
	}
	if side.Requests == 0 {
		return nil, fmt.Errorf("fio: %w", errNothing)
	}
	v := values{report.IOPS: side.IOPS, report.Bandwidth: side.Bandwidth / (1 << 20),
		report.CPU: (job.User + job.System) / 100 * job.Runtime * 1000 / side.Requests}
	for m, name := range map[report.Metric]string{
		report.P50: "50.000000", report.P99: "99.000000", report.P999: "99.900000"} {
		if ns, ok := side.Completion.Percentile[name]; ok {
			v[m] = ns / 1000
		}
	}
	return v, nil
}
