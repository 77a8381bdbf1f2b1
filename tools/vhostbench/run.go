package main

import (
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/belay-vm/belay/internal/size"
	"github.com/spf13/cobra"
)

// options are what a run is asked for.
type options struct {
	socket           string
	op               string
	mix              int // percent of reads in rw
	seq              bool
	bs               size.Flag
	depth            int
	queues           int
	packed           bool
	flushEvery       int // writes from one flush to the next, 0 for none
	checkpointEvery  time.Duration
	checkpoint       string // command
	checkpointVolume string // instead of a command
	duration         time.Duration
	requests         int64 // instead of a duration, if not 0
	ramp             time.Duration
	wait             string
	fill             bool
	area             size.Flag // 0: the whole disk
	seed             uint64
	pid              int
	cpus             []int
	verify           bool
	sure             bool
	json             bool
}

// The words of the flags.
const (
	opRead, opWrite, opMix = "read", "write", "rw"
	waitPoll, waitEventfd  = "poll", "eventfd"
)

// Bounds of the flags.
const (
	maxQueues  = 64
	maxDepth   = 1024
	maxRequest = 16 << 20
	fillBytes  = 1 << 20
	fillDepth  = 8
)

func defaults() options {
	return options{op: opRead, mix: 70, bs: 4096, depth: 32, queues: 1, duration: 3 * time.Second,
		ramp: 300 * time.Millisecond, wait: waitPoll, seed: 1}
}

func runVerb(stdout, stderr io.Writer) *cobra.Command {
	o := defaults()
	cmd := &cobra.Command{
		Use:   "run --socket-path PATH",
		Short: "Load a back end and say how it did",
		Long: `Load the back end that listens on a socket, for a time or for a number of requests, and say how
many it served, how fast and, with --pid, for how much processor time.

Writes destroy what is on the disk.`,
		Example: `  vhostbench run --socket-path /tmp/s --fill
  vhostbench run --socket-path /tmp/s --op rw --mix 70 --depth 32 --pid $(pidof belay) --json
  vhostbench run --socket-path /tmp/s --op write --depth 1 --flush-every 1 --wait eventfd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.settle(cmd.Flags().Changed); err != nil {
				return err
			}
			r, err := measure(cmd.Context(), o, stderr)
			if err != nil {
				return err
			}
			if err := r.print(stdout, o.json); err != nil {
				return err
			}
			return r.failure
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.socket, "socket-path", "", "the back end's UNIX socket")
	f.StringVar(&o.op, "op", o.op, "read, write or rw")
	f.IntVar(&o.mix, "mix", o.mix, "percent of reads in --op rw")
	f.BoolVar(&o.seq, "seq", o.seq, "go through the range in order, not at random")
	f.Var(&o.bs, "bs", "size of a request")
	f.IntVar(&o.depth, "depth", o.depth, "requests in flight on each queue")
	f.IntVar(&o.queues, "queues", o.queues, "queues, each with a thread of its own")
	f.BoolVar(&o.packed, "packed", o.packed, "use packed rings")
	f.IntVar(&o.flushEvery, "flush-every", o.flushEvery, "flush after so many writes of a queue")
	f.DurationVar(&o.checkpointEvery, "checkpoint-every", o.checkpointEvery, "take a checkpoint so often")
	f.StringVar(&o.checkpoint, "checkpoint-command", o.checkpoint, "shell command that takes a checkpoint")
	f.StringVar(&o.checkpointVolume, "checkpoint-volume", o.checkpointVolume,
		"volume that belay serves, to ask for checkpoints without a command")
	f.DurationVar(&o.duration, "duration", o.duration, "how long to measure")
	f.Int64Var(&o.requests, "requests", o.requests, "measure this many requests instead, without a ramp")
	f.DurationVar(&o.ramp, "ramp", o.ramp, "load that runs before and does not count")
	f.StringVar(&o.wait, "wait", o.wait, "wait for completions by: poll (no notifications) or eventfd")
	f.BoolVar(&o.fill, "fill", o.fill, "write the whole range once, in order, flush, and exit")
	f.Var(&o.area, "range", "bytes of the disk to use, from its beginning (default: all)")
	f.Uint64Var(&o.seed, "seed", o.seed, "what the offsets are drawn from")
	f.IntVar(&o.pid, "pid", o.pid, "the back end's process, whose processor time is to be told")
	f.IntSliceVar(&o.cpus, "cpu", o.cpus, "pin the load threads to these CPUs, in turn")
	f.BoolVar(&o.verify, "verify", o.verify, "check that reads return what was written")
	f.BoolVar(&o.sure, "sure", o.sure,
		"tell the latencies without what may be the generator's own, too (with --wait poll)")
	f.BoolVar(&o.json, "json", o.json, "print JSON")
	return cmd
}

// settle refuses what cannot be, and fills in what follows from the rest.
func (o *options) settle(changed func(flag string) bool) error {
	if o.fill {
		for _, flag := range []string{"op", "seq", "duration", "requests", "ramp", "flush-every", "verify"} {
			if changed(flag) {
				return usagef("--fill and --%s exclude each other", flag)
			}
		}
		o.op, o.seq = opWrite, true
		if !changed("bs") {
			o.bs = fillBytes
		}
		if !changed("depth") {
			o.depth = fillDepth
		}
	}
	if o.requests != 0 {
		if changed("duration") || changed("ramp") {
			return usagef("--requests excludes --duration and --ramp")
		}
	}
	if o.requests > 0 || o.fill {
		o.ramp = 0
	}
	if err := o.checkNumbers(); err != nil {
		return err
	}
	return o.checkWords()
}

func (o *options) checkNumbers() error {
	for _, n := range []struct {
		flag            string
		value, from, to int64
	}{
		{"mix", int64(o.mix), 0, 100},
		{"bs", int64(o.bs), sectorSize, maxRequest},
		{"depth", int64(o.depth), 1, maxDepth},
		{"queues", int64(o.queues), 1, maxQueues},
		{"flush-every", int64(o.flushEvery), 0, math.MaxInt32},
		{"requests", o.requests, 0, math.MaxInt64},
		{"pid", int64(o.pid), 0, math.MaxInt32},
		{"ramp", int64(o.ramp), 0, math.MaxInt64},
		{"duration", int64(o.duration), 1, math.MaxInt64},
		{"checkpoint-every", int64(o.checkpointEvery), 0, math.MaxInt64},
	} {
		if n.value < n.from || n.value > n.to {
			return usagef("--%s is between %d and %d", n.flag, n.from, n.to)
		}
	}
	return nil
}

func (o *options) checkWords() error {
	switch {
	case o.socket == "":
		return usagef("--socket-path is missing")
	case !slices.Contains([]string{opRead, opWrite, opMix}, o.op):
		return usagef("--op is read, write or rw, not %q", o.op)
	case o.wait != waitPoll && o.wait != waitEventfd:
		return usagef("--wait is poll or eventfd, not %q", o.wait)
	case (o.checkpointEvery == 0) != (o.checkpoint == "" && o.checkpointVolume == ""):
		return usagef("--checkpoint-every needs --checkpoint-command or --checkpoint-volume, and they need it")
	case o.checkpoint != "" && o.checkpointVolume != "":
		return usagef("--checkpoint-command and --checkpoint-volume exclude each other")
	case o.verify && o.op == opRead:
		return usagef("--verify needs --op write or rw: only what this run wrote is known")
	}
	return nil
}

// source is the random numbers of a queue.
func (o *options) source(queue int) *rand.PCG { return rand.NewPCG(o.seed, uint64(queue)) }
