package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// settle is how many checkpoints pass before anything counts.
const settle = 3

func (l *lab) measure(ctx context.Context, sub subject) error {
	if err := l.p.Checkpoints(ctx, settle); err != nil {
		return err
	}
	from := time.Now()
	if err := l.p.Checkpoints(ctx, l.checkpoints); err != nil {
		return err
	}
	if err := l.showPauses("idle", from, l.p, l.s); err != nil {
		return err
	}
	if !sub.noLoad {
		if err := l.underLoads(ctx); err != nil {
			return err
		}
	}
	l.killPrimary()
	begun := time.Now()
	if err := sub.failover(l.s, ctx); err != nil {
		return err
	}
	if err := l.s.AwaitRunning(ctx); err != nil {
		return err
	}
	fmt.Printf("  failover: running after %s\n", millis(time.Since(begun)))
	return nil
}

func (l *lab) underLoads(ctx context.Context) error {
	for _, load := range []struct{ name, args string }{
		{"fsync", "--rw=randwrite --ioengine=psync --fsync=1"},
		{"write", "--rw=randwrite --ioengine=libaio --iodepth=16"},
	} {
		if err := l.underLoad(ctx, load.name, load.args); err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	return nil
}

// spare is what fio may take beyond its time, to begin and to end.
const spare = 2 * time.Minute

// underLoad lets fio write to the bare disk, and shows its figures and the primary's pauses.
func (l *lab) underLoad(ctx context.Context, name, args string) error {
	ctx, cancel := context.WithTimeout(ctx, l.load+spare)
	defer cancel()
	from := time.Now()
	out, err := l.p.RunContext(ctx, "fio --name="+name+" --filename=/dev/vda --direct=1 --bs=4k "+
		"--time_based --randrepeat=0 --output-format=json --runtime="+l.seconds()+" "+args)
	if err != nil {
		return err
	}
	r, err := parseFio(out)
	if err != nil {
		return err
	}
	fmt.Printf("  %s: %.0f writes/s", name, r.Write.IOPS)
	if r.Sync.Lat.N > 0 {
		fmt.Printf(", fsync p50 %s, p99 %s", r.Sync.Lat.quantile("50.000000"), r.Sync.Lat.quantile("99.000000"))
	}
	fmt.Println()
	return l.showPauses(name, from, l.p)
}

// job is what fio says of one.
type job struct {
	Write struct {
		IOPS float64 `json:"iops"`
	} `json:"write"`
	Sync struct {
		Lat latency `json:"lat_ns"`
	} `json:"sync"`
}

type latency struct {
	N          int64            `json:"N"`
	Percentile map[string]int64 `json:"percentile"` // in nanoseconds
}

func (l latency) quantile(name string) string { return millis(time.Duration(l.Percentile[name])) }

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

// showPauses prints those that began since a moment.
func (l *lab) showPauses(what string, from time.Time, machines ...*pair.Machine) error {
	to := time.Now()
	for i, m := range machines {
		pauses, err := m.Pauses(from, to)
		if err != nil {
			return err
		}
		all := pauses.Whole
		fmt.Printf("  %s: %s's pause median %s, p90 %s, longest %s (%d checkpoints; from STOP median %s)\n",
			what, [...]string{"primary", "secondary"}[i],
			millis(pair.Quantile(all, 0.5)), millis(pair.Quantile(all, 0.9)), millis(pair.Quantile(all, 1)),
			len(all), millis(pair.Quantile(pauses.Events, 0.5)))
	}
	return nil
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
