package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/checkpoint"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// Bounds and words of the flags.
const (
	maxUnretired  = 1024
	maxPollUs     = 1_000_000
	defaultSegMax = 126 // with header and status QEMU's usual ring of 128 entries
)

var (
	engines   = []string{"auto", "uring", "inline", "threads"}
	logLevels = []string{"trace", "debug", "info", "warn", "error"}
)

// serveOptions are the choices of a server.
type serveOptions struct {
	socketPath   string
	fd           int
	queues       int
	queueSize    int
	segMax       int
	readOnly     bool
	takeover     bool
	maxUnretired int
	serial       string
	memorySlots  bool
	pollUs       int
	pollDeviceUs int
	engine       string
	logLevel     string
}

// defaults are the options as they are when no flag says otherwise.
func (o *serveOptions) defaults() {
	*o = serveOptions{fd: -1, queues: 4, queueSize: 256, segMax: defaultSegMax, maxUnretired: 4,
		pollUs: micros(blk.SpinTime()), pollDeviceUs: micros(blk.SpinDeviceTime),
		engine: "auto", logLevel: "info"}
}

func micros(d time.Duration) int { return int(d / time.Microsecond) }

func serveVerb(a *app) *cobra.Command {
	var o serveOptions
	o.defaults()
	cmd := &cobra.Command{
		Use:   "serve VOLUME (--socket-path PATH | --fd N)",
		Short: "Serve a volume to a virtual machine",
		Long: `Serve the volume's disk over vhost-user-blk until SIGTERM or SIGINT; requests under way are
finished then. A second signal ends the process at once. Front ends may come and go, one at a
time.

One line, 'ready SOCKET', on stdout says that front ends may connect; under systemd READY=1 is
sent, and a socket that systemd passes is used in place of --socket-path. The socket of a server
that is gone is replaced, one that is alive never.

The other verbs reach the volume through control.sock in its directory, which also has
Prometheus metrics:
  curl --unix-socket VOLUME/control.sock http://belay/metrics`,
		Example: `  belay serve /var/lib/belay/web --socket-path /run/belay/web.sock
  belay serve /var/lib/belay/web --socket-path /run/belay/web.sock --num-queues 2 --serial web0
  belay serve /var/lib/belay/web --takeover --socket-path /run/belay/web.sock

  qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on \
    -numa node,memdev=mem -chardev socket,id=c0,path=/run/belay/web.sock,reconnect=1 \
    -device vhost-user-blk-pci,chardev=c0,num-queues=2`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.serve(cmd.Context(), args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.socketPath, "socket-path", o.socketPath, "listen on a UNIX socket")
	f.IntVar(&o.fd, "fd", o.fd, "serve the UNIX socket at this file descriptor, connected or listening")
	f.IntVar(&o.queues, "num-queues", o.queues, "queues offered to the front end")
	f.IntVar(&o.queueSize, "queue-size", o.queueSize, "requests in flight that each queue is prepared for")
	f.IntVar(&o.segMax, "seg-max", o.segMax,
		"pieces of data in one request, as told to the guest; its rings need two entries more")
	f.BoolVar(&o.readOnly, "read-only", o.readOnly, "let the guest read only")
	f.BoolVar(&o.takeover, "takeover", o.takeover,
		"return to the last retired checkpoint first, and fence off whoever served before")
	f.IntVar(&o.maxUnretired, "max-unretired", o.maxUnretired, "checkpoints that may be started and not retired")
	f.StringVar(&o.serial, "serial", o.serial,
		"serial number that the guest sees, at most 20 characters (default: from the volume's uuid)")
	f.BoolVar(&o.memorySlots, "memory-slots", o.memorySlots, "let the front end hand over memory in slots")
	f.IntVar(&o.pollUs, "poll-us", o.pollUs, "microseconds to look for new requests before sleeping")
	f.Lookup("poll-us").DefValue = "0 with few CPUs, else 50" // the manual is the same everywhere
	f.IntVar(&o.pollDeviceUs, "poll-device-us", o.pollDeviceUs,
		"microseconds to look for what the disk has done before sleeping")
	f.StringVar(&o.engine, "engine", o.engine, "what moves the data: auto, uring, inline or threads")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "trace, debug, info, warn or error, to stderr")
	complete(cmd, "engine", engines...)
	complete(cmd, "log-level", logLevels...)
	return cmd
}

// complete offers fixed words for a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	fixed := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	invariant(cmd.RegisterFlagCompletionFunc(flag, fixed))
}

// check refuses what no server can do, before anything is opened.
func (o *serveOptions) check() error {
	for _, n := range []struct {
		flag            string
		value, from, to int
	}{
		{"num-queues", o.queues, 1, blk.MaxQueues},
		{"queue-size", o.queueSize, 1, blk.MaxDepth},
		{"seg-max", o.segMax, 1, blk.MaxSegments},
		{"max-unretired", o.maxUnretired, 1, maxUnretired},
		{"poll-us", o.pollUs, 0, maxPollUs},
		{"poll-device-us", o.pollDeviceUs, 0, maxPollUs},
	} {
		if n.value < n.from || n.value > n.to {
			return usagef("--%s is between %d and %d, not %d", n.flag, n.from, n.to, n.value)
		}
	}
	switch {
	case !slices.Contains(engines, o.engine):
		return usagef("--engine is one of %s, not %q", strings.Join(engines, ", "), o.engine)
	case !slices.Contains(logLevels, o.logLevel):
		return usagef("--log-level is one of %s, not %q", strings.Join(logLevels, ", "), o.logLevel)
	case len(o.serial) > blk.SerialSize || strings.IndexFunc(o.serial, notPrintable) >= 0:
		return usagef("--serial is at most %d printable ASCII characters", blk.SerialSize)
	case o.takeover && o.readOnly:
		return usagef("--takeover changes the volume; --read-only excludes it")
	}
	return nil
}

func notPrintable(r rune) bool { return r < ' ' || r > '~' }

// serve opens the volume and serves it until the context ends or the one front end is gone.
func (a *app) serve(ctx context.Context, dir string, o serveOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	where, err := chooseEndpoint(o.socketPath, o.fd)
	if err != nil {
		return err
	}
	log := a.logger(o.logLevel)
	store, err := checkpoint.Open(dir, checkpoint.Options{ReadOnly: o.readOnly, Takeover: o.takeover,
		MaxUnretired: o.maxUnretired, LockWait: lockWait(dir), Log: log.Named("store")})
	if err != nil {
		return about(dir, told(err))
	}
	s := &server{volume: volume{store, dir}, options: o, log: log, since: time.Now()}
	err = s.run(ctx, where, a.ready)
	if closed := store.Close(); err == nil {
		err = told(closed)
	}
	return about(dir, err)
}

func (a *app) logger(level string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "belay", Output: a.stderr, Level: hclog.LevelFromString(level),
		DisableTime: os.Getenv("JOURNAL_STREAM") != "", // the journal has its own
	})
}

// ready tells whoever started the process that front ends may connect.
func (a *app) ready(name string) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=Serving on "+name); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if a.json {
		return json.NewEncoder(a.stdout).Encode(map[string]string{"ready": name})
	}
	_, err := fmt.Fprintf(a.stdout, "ready %s\n", name)
	return err
}
