package main

import (
	"context"
	"fmt"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// settle is how many checkpoints pass before anything counts.
const settle = 3

// values are what was measured, by the names that columns have in result.go.
type values map[string]float64

// part is something to measure with a pair of its own.
type part struct {
	name  string
	steps []step
	full  bool // the disk is full of random bytes
	once  bool // what is counted does not differ from round to round
}

var parts = []part{
	{name: "loads", steps: []step{idle, loads, hostDies}},
	{name: "died", steps: []step{qemuDies}},
	{name: "resync", steps: []step{resync}, full: true, once: true},
}

// step measures something and puts it into v.
type step = func(ctx context.Context, l *lab, s subject, v values) error

// idle takes pauses of a guest that does nothing.
func idle(ctx context.Context, l *lab, _ subject, v values) error {
	from := time.Now()
	if err := l.vms[pair.A].Checkpoints(ctx, l.checkpoints); err != nil {
		return err
	}
	if err := l.pauses(v, "idle", pair.A, from); err != nil {
		return err
	}
	return l.pauses(v, "secondary", pair.B, from)
}

// loads takes pauses of a guest that writes, and what its writes cost.
func loads(ctx context.Context, l *lab, s subject, v values) error {
	if s.noLoad {
		return nil
	}
	for _, load := range []struct{ name, args string }{{"fsync", fsyncLoad}, {"write", writeLoad}} {
		if err := l.underLoad(ctx, v, s, load.name, load.args); err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	return nil
}

// underLoad lets fio write, and takes its figures, the primary's pauses, and what the link carried.
func (l *lab) underLoad(ctx context.Context, v values, s subject, name, args string) error {
	disk, err := l.sent(s.diskPort)
	if err != nil {
		return err
	}
	from := time.Now()
	r, err := fio(ctx, l.vms[pair.A], timed(args, l.load), l.load)
	if err != nil {
		return err
	}
	v[name+"_per_s"] = r.Write.IOPS
	if r.Sync.Lat.N > 0 {
		v[name+"_p50_ms"], v[name+"_p99_ms"] = r.Sync.Lat.millis("50.000000"), r.Sync.Lat.millis("99.000000")
	}
	after, err := l.sent(s.diskPort)
	if err != nil {
		return err
	}
	if s.diskPort != 0 && r.Write.Bytes > 0 {
		v[name+"_sent_per_byte"] = (after - disk) / float64(r.Write.Bytes)
	}
	return l.pauses(v, name, pair.A, from)
}

// sent is what the link has carried for a port, both ways.
func (l *lab) sent(port int) (float64, error) {
	n, err := l.traffic.Bytes(port)
	return float64(n), err
}

// pauses takes those of a machine that began since a moment.
func (l *lab) pauses(v values, what string, id pair.ID, from time.Time) error {
	pauses, err := l.vms[id].Pauses(from, time.Now())
	if err != nil {
		return err
	}
	for name, q := range map[string]float64{"": 0.5, "_p90": 0.9, "_max": 1} {
		v[what+"_pause"+name+"_ms"] = millis(pair.Quantile(pauses.Whole, q))
	}
	return nil
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
