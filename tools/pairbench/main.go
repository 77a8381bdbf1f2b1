package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/tools/pair"
)

// options are the command line's.
type options struct {
	belay       string
	subjects    string
	parts       string
	rounds      int
	checkpoints int
	load        time.Duration
	delay       time.Duration
	peerTimeout time.Duration
	sizeMiB     int64
	out         string
	logLevel    string
	verbose     bool
}

func main() {
	var o options
	var seconds int
	flag.StringVar(&o.belay, "belay", "bin/belay", "the binary under test")
	flag.StringVar(&o.subjects, "subjects", "bare,belay,qemu", "which: "+strings.Join(names(), ", "))
	flag.StringVar(&o.parts, "parts", strings.Join(partNames(), ","), "what to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how often")
	flag.IntVar(&o.checkpoints, "checkpoints", 10, "how many pauses to take of an idle guest")
	flag.IntVar(&seconds, "seconds", 6, "how long each load lasts")
	flag.DurationVar(&o.delay, "delay", 500*time.Millisecond, "QEMU's x-checkpoint-delay")
	flag.DurationVar(&o.peerTimeout, "peer-timeout", time.Second, "belay's")
	flag.Int64Var(&o.sizeMiB, "size", 1024, "the disk, in MiB")
	flag.StringVar(&o.out, "out", "",
		"directory for the result, which is added to if it is there (default bench/pair/DATE-COMMIT)")
	flag.StringVar(&o.logLevel, "log-level", "info", "belay's")
	flag.BoolVar(&o.verbose, "verbose", false, "show what guests and backends say")
	flag.Parse()
	o.load = time.Duration(seconds) * time.Second
	if flag.NArg() > 0 || o.checkpoints < 1 || o.rounds < 1 || seconds < 1 || o.sizeMiB < 64 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "pairbench:", err)
		os.Exit(1)
	}
}

func partNames() []string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return all
}

// run measures round after round; in each every subject has its turn, in an order that rotates.
func run(ctx context.Context, o options) error {
	chosen := strings.Split(o.subjects, ",")
	for _, name := range chosen {
		if _, ok := subjects[name]; !ok {
			return fmt.Errorf("no subject %q: there are %s", name, strings.Join(names(), ", "))
		}
	}
	r, err := openResult(ctx, &o)
	if err != nil {
		return err
	}
	for _, name := range strings.Split(o.parts, ",") {
		i := slices.Index(partNames(), name)
		if i < 0 {
			return fmt.Errorf("no part %q: there are %s", name, strings.Join(partNames(), ", "))
		}
		if err := runPart(ctx, o, parts[i], chosen, r); err != nil {
			return err
		}
		if err := r.save(o.out); err != nil {
			return err
		}
	}
	return r.table(os.Stdout)
}

func runPart(ctx context.Context, o options, p part, chosen []string, r *result) error {
	rounds := o.rounds
	if p.once {
		rounds = 1
	}
	first := r.rounds(p.name)
	for round := first; round < first+rounds; round++ {
		for turn := range chosen {
			name := chosen[(turn+round)%len(chosen)]
			if p.full && subjects[name].resync == nil {
				continue
			}
			begun := time.Now()
			v, accel, err := runOne(ctx, o, p, subjects[name])
			if err != nil {
				return fmt.Errorf("%s, %s: %w", p.name, name, err)
			}
			r.Accel = accel
			r.Samples = append(r.Samples, sample{p.name, round, name, v})
			fmt.Fprintf(os.Stderr, "%s, round %d, %s: %.0f s\n", p.name, round+1, name, time.Since(begun).Seconds())
		}
	}
	return nil
}

// runOne is bounded: a pair that hangs is a failure, with whatever the machine was doing.
func runOne(ctx context.Context, o options, p part, s subject) (v values, accel string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	l, err := newLab(o)
	if err != nil {
		return nil, "", err
	}
	defer l.close()
	if p.full {
		if l.full, err = l.contents(); err != nil {
			return nil, "", err
		}
	}
	if err := s.start(ctx, l); err != nil {
		return nil, "", err
	}
	if err := l.vms[pair.A].Checkpoints(ctx, settle); err != nil {
		return nil, "", err
	}
	v = values{}
	for _, measure := range p.steps {
		if err := measure(ctx, l, s, v); err != nil {
			return nil, "", err
		}
	}
	return v, l.vms[pair.A].Accel(), nil
}
