package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// Loads of the guest, in fio's words: on the bare disk, past the page cache.
const (
	fsyncLoad = "--rw=randwrite --bs=4k --ioengine=psync --fsync=1"
	writeLoad = "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16"
)

// job is what fio says of one.
type job struct {
	Write struct {
		IOPS  float64 `json:"iops"`
		Bytes int64   `json:"io_bytes"`
	} `json:"write"`
	Sync struct {
		Lat latency `json:"lat_ns"`
	} `json:"sync"`
}

type latency struct {
	N          int64            `json:"N"`
	Percentile map[string]int64 `json:"percentile"` // in nanoseconds
}

func (l latency) millis(percentile string) float64 { return float64(l.Percentile[percentile]) / 1e6 }

// spare is what fio may take beyond its time, to begin and to end.
const spare = 2 * time.Minute

func fioCommand(args string) string {
	return "fio --name=load --filename=/dev/vda --direct=1 --randrepeat=0 --output-format=json " + args
}

// timed are fio's arguments for a load of so long.
func timed(args string, d time.Duration) string {
	return fmt.Sprintf("%s --time_based --runtime=%d", args, int(d.Seconds()))
}

// fio runs one job in a guest.
func fio(ctx context.Context, vm *pair.Machine, args string, d time.Duration) (job, error) {
	ctx, cancel := context.WithTimeout(ctx, d+spare)
	defer cancel()
	out, err := vm.RunContext(ctx, fioCommand(args))
	if err != nil {
		return job{}, err
	}
	return parseFio(out)
}

// parseFio reads fio's result, before which it may have printed notes.
func parseFio(text string) (job, error) {
	var r struct {
		Jobs []job `json:"jobs"`
	}
	start := strings.IndexByte(text, '{')
	if start < 0 {
		return job{}, fmt.Errorf("fio's result has no JSON: %.200q", text)
	}
	if err := json.Unmarshal([]byte(text[start:]), &r); err != nil {
		return job{}, fmt.Errorf("fio's result: %w", err)
	}
	if len(r.Jobs) != 1 {
		return job{}, fmt.Errorf("fio's result: %d jobs, want one", len(r.Jobs))
	}
	return r.Jobs[0], nil
}
