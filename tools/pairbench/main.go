package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are the command line's.
type options struct {
	belay       string
	subjects    string
	checkpoints int
	load        time.Duration
	delay       time.Duration
	sizeMiB     int64
	verbose     bool
}

func main() {
	var o options
	var seconds int
	flag.StringVar(&o.belay, "belay", "bin/belay", "the binary under test")
	flag.StringVar(&o.subjects, "subjects", "bare,qemu", "which, in this order: "+strings.Join(names(), ", "))
	flag.IntVar(&o.checkpoints, "checkpoints", 40, "how many pauses to take of an idle guest")
	flag.IntVar(&seconds, "seconds", 20, "how long each load lasts")
	flag.DurationVar(&o.delay, "delay", 500*time.Millisecond, "QEMU's x-checkpoint-delay")
	flag.Int64Var(&o.sizeMiB, "size", 1024, "the disk, in MiB")
	flag.BoolVar(&o.verbose, "verbose", false, "show the guests' consoles")
	flag.Parse()
	o.load = time.Duration(seconds) * time.Second
	if flag.NArg() > 0 || o.checkpoints < 1 || seconds < 1 || o.sizeMiB < 64 {
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

func run(ctx context.Context, o options) error {
	for _, name := range strings.Split(o.subjects, ",") {
		s, ok := subjects[name]
		if !ok {
			return fmt.Errorf("no subject %q: there are %s", name, strings.Join(names(), ", "))
		}
		if err := runOne(ctx, o, name, s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// runOne is bounded: a pair that hangs is a failure, with whatever the machine was doing.
func runOne(ctx context.Context, o options, name string, s subject) error {
	idle := time.Duration(o.checkpoints) * (o.delay + time.Second)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute+idle+2*o.load)
	defer cancel()
	l, err := newLab(o)
	if err != nil {
		return err
	}
	defer l.close()
	if err := s.start(ctx, l); err != nil {
		return err
	}
	fmt.Printf("%s: %s, %v between checkpoints\n", name, l.p.Accel(), o.delay)
	return l.measure(ctx, s)
}
