package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/belay-vm/belay/internal/size"
	"github.com/belay-vm/belay/mirror"
	"github.com/spf13/cobra"
)

// Bounds and defaults of the flags.
const (
	leastDelay    = 10 * time.Millisecond
	leastHold     = 100 * time.Millisecond
	mostHold      = time.Minute
	defaultDelay  = 500 * time.Millisecond
	defaultWindow = "64M"
	mostPairName  = 64
)

// pairOptions are the choices of a side of a pair.
type pairOptions struct {
	serveOptions
	primary bool

	disks      []string // VOLUME=SOCKET, beside the first
	nets       []string // NETDEV=PORT
	qmp        string
	peer       string
	listen     string
	migrateURI string
	delay      time.Duration
	hold       time.Duration
	rate       string
	window     string

	perSecond int64 // of rate
	inFlight  int   // of window

	witnessOptions
	name  string
	alone bool
	check bool

	cert, key, ca string
	plaintext     bool
}

func pairVerb(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pair",
		Short: "Serve a volume as one side of a mirrored pair",
		Long: `Run one side of a mirrored pair: two hosts, each with a QEMU and a belay beside it. What the
primary's guest does is carried to the secondary checkpoint by checkpoint, by QEMU's COLO and belay
together; whichever host dies, the other goes on with the disk that its guest's memory expects.`,
	}
	cmd.AddCommand(pairPrimaryVerb(a), pairSecondaryVerb(a))
	check := false
	cmd.Flags().BoolVar(&check, "check", false, "belongs behind primary or secondary: say what is missing")
	cmd.RunE = run(a, func(cmd *cobra.Command, args []string) error {
		switch {
		case check:
			return usagef("which side? 'belay pair primary VOLUME ... --check', or secondary, with all that it is " +
				"to be started with")
		case len(args) > 0:
			return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return cmd.Help()
	})
	return cmd
}

// pairOrCheck serves, or only looks whether it could.
func (a *app) pairOrCheck(ctx context.Context, dir string, o pairOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.check {
		return a.checkPair(ctx, dir, o)
	}
	return a.servePair(ctx, dir, o)
}

func pairPrimaryVerb(a *app) *cobra.Command {
	o := pairOptions{primary: true, delay: defaultDelay}
	o.defaults()
	cmd := &cobra.Command{
		Use:   "primary VOLUME --socket-path PATH --qmp Q[,Q2] --peer HOST:PORT --migrate-uri URI",
		Short: "Serve the side whose guest the world sees",
		Long: `Serve the volume to QEMU, bring the secondary's volume to the same state while the guest runs,
start COLO, and go on. 'ready' says that QEMU may be started.

Without a peer the primary serves alone; 'belay reprotect' gives it one later. With --manual one that
had a partner asks it first whether it serves now.

With --check nothing is served: each condition of a pair gets a line, with what to do where it is not
met, and the exit code says whether all are. What can be told of QEMU needs one that runs; a side that
is served already has looked at its own.`,
		Example: `  belay pair primary /var/lib/belay/web --socket-path /run/belay/web.sock \
    --qmp /run/belay/web.qmp,/run/belay/web.qmp2 --peer 192.0.2.2:7000 \
    --migrate-uri tcp:192.0.2.2:7001 --etcd etcd1:2379,etcd2:2379,etcd3:2379 --pair web \
    --tls-cert web.crt --tls-key web.key --tls-ca ca.crt`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.pairOrCheck(cmd.Context(), args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.peer, "peer", "", "where the secondary's belay listens, HOST:PORT")
	f.StringVar(&o.migrateURI, "migrate-uri", "", "where the secondary's QEMU awaits the guest, tcp:HOST:PORT")
	f.BoolVar(&o.alone, "alone", false,
		"with --manual, do not ask the partner whether it serves: it does not, for certain")
	pairFlags(cmd, &o)
	return cmd
}

func pairSecondaryVerb(a *app) *cobra.Command {
	o := pairOptions{window: defaultWindow, delay: defaultDelay}
	o.defaults()
	cmd := &cobra.Command{
		Use:   "secondary VOLUME --socket-path PATH --qmp Q[,Q2] --listen HOST:PORT",
		Short: "Serve the side that follows and takes over",
		Long: `Wait for the primary, take what its volume holds and then what its guest writes, and follow it
with a QEMU that was started with -incoming and -S. What the volume held before is dropped, but for
what both sides have in common. If the primary dies, this side takes over; with --manual not before
'belay failover' says so.

The process ends when its side is out of the pair: started again with a fresh QEMU it is brought up to
date. With --check nothing is served, and each condition of a pair gets a line, as for the primary.`,
		Example: `  belay pair secondary /var/lib/belay/web --socket-path /run/belay/web.sock \
    --qmp /run/belay/web.qmp,/run/belay/web.qmp2 --listen 192.0.2.2:7000 \
    --etcd etcd1:2379,etcd2:2379,etcd3:2379 --pair web \
    --tls-cert web.crt --tls-key web.key --tls-ca ca.crt`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.pairOrCheck(cmd.Context(), args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "address to await the primary at, HOST:PORT")
	f.StringVar(&o.window, "window", o.window, "how much may be on its way from the primary")
	pairFlags(cmd, &o)
	return cmd
}

// pairFlags are those of both sides.
func pairFlags(cmd *cobra.Command, o *pairOptions) {
	f := cmd.Flags()
	f.StringVar(&o.socketPath, "socket-path", "", "listen on a UNIX socket for QEMU's disk")
	f.StringArrayVar(&o.disks, "disk", nil, "another disk of the same machine, VOLUME=SOCKET; may be repeated")
	f.StringVar(&o.qmp, "qmp", "", "one or two QMP sockets of QEMU that nobody else uses, Q[,Q2]")
	f.BoolVar(&o.check, "check", false, "say what is there and what is missing, line by line, and serve nothing")
	f.StringArrayVar(&o.nets, "net", nil, "a network card of the machine whose packets QEMU is to compare, "+
		"NETDEV=PORT, the same on both sides; PORT and the next one are on the secondary's host; may be repeated")
	f.StringVar(&o.name, "pair", "", "name of the pair, the same on both sides (default: with --manual, pair)")
	o.witnessOptions.flags(f)
	f.StringVar(&o.cert, "tls-cert", "", "certificate of this side, PEM")
	f.StringVar(&o.key, "tls-key", "", "its key, PEM")
	f.StringVar(&o.ca, "tls-ca", "", "certificates of those who sign the peer's, PEM")
	f.BoolVar(&o.plaintext, "plaintext", false, "speak with the peer without TLS, readable by whoever listens")
	f.DurationVar(&o.delay, "checkpoint-delay", o.delay,
		"time between checkpoints, while this side is the primary")
	f.DurationVar(&o.hold, "peer-timeout", pair.DefaultHold,
		"how long the partner may hold the guest up, the same on both sides; a takeover waits four times as long")
	f.StringVar(&o.rate, "sync-rate", "",
		"bytes a second to bring a partner up to date, such as 100M (default: no limit)")
	f.IntVar(&o.queues, "num-queues", o.queues, "queues offered to QEMU")
	f.IntVar(&o.queueSize, "queue-size", o.queueSize, "requests in flight that each queue is prepared for")
	f.StringVar(&o.engine, "engine", o.engine, "what moves the data: auto, uring, inline or threads")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "trace, debug, info, warn or error, to stderr")
	complete(cmd, "engine", engines...)
	complete(cmd, "log-level", logLevels...)
}

// validate refuses what cannot be, before anything is opened.
func (o *pairOptions) validate() error {
	if o.socketPath == "" {
		return usagef("--socket-path is needed")
	}
	if o.qmp == "" {
		return usagef("--qmp is needed")
	}
	if err := o.checkWitness(); err != nil {
		return err
	}
	if err := o.checkName(); err != nil {
		return err
	}
	if err := o.checkTransport(); err != nil {
		return err
	}
	if err := o.checkSizes(); err != nil {
		return err
	}
	for _, d := range o.disks {
		if dir, socket, ok := strings.Cut(d, "="); !ok || dir == "" || socket == "" {
			return usagef("--disk is VOLUME=SOCKET, not %q", d)
		}
	}
	if _, err := o.cards(); err != nil {
		return err
	}
	return o.serveOptions.check()
}

// cards are those of --net.
func (o *pairOptions) cards() (list []pair.Card, err error) {
	for _, text := range o.nets {
		card, err := pair.ParseCard(text)
		if err != nil {
			return nil, usagef("--net: %v", err)
		}
		for _, other := range list {
			if card.Netdev == other.Netdev || card.Port-other.Port < 2 && other.Port-card.Port < 2 {
				return nil, usagef("--net: %q and %q want the same", other.Netdev, card.Netdev)
			}
		}
		list = append(list, card)
	}
	return list, nil
}

// checkSizes reads what is given in bytes.
func (o *pairOptions) checkSizes() (err error) {
	if o.rate != "" {
		if o.perSecond, err = size.Parse(o.rate); err != nil || o.perSecond <= 0 {
			return usagef("--sync-rate: want a size such as 100M, not %q", o.rate)
		}
	}
	if o.primary {
		return nil
	}
	window, err := size.Parse(o.window)
	if err != nil || window < mirror.MinWindow || window > mirror.MaxWindow {
		return usagef("--window: want a size between %d and %d bytes, such as 64M, not %q", mirror.MinWindow,
			mirror.MaxWindow, o.window)
	}
	o.inFlight = int(window)
	return nil
}

func (o *pairOptions) checkTransport() error {
	given := o.cert != "" && o.key != "" && o.ca != ""
	switch {
	case o.plaintext && (o.cert != "" || o.key != "" || o.ca != ""):
		return usagef("--plaintext excludes --tls-cert, --tls-key and --tls-ca")
	case !o.plaintext && !given:
		return usagef("--tls-cert, --tls-key and --tls-ca are needed, or --plaintext")
	case !o.primary && o.listen == "":
		return usagef("--listen is needed")
	case o.primary && (o.peer == "") != (o.migrateURI == ""):
		return usagef("--peer and --migrate-uri belong together")
	case o.delay < leastDelay:
		return usagef("--checkpoint-delay is at least %v, not %v", leastDelay, o.delay)
	}
	if err := checkHold(o.hold); err != nil {
		return err
	}
	for _, address := range []struct{ flag, value string }{{"peer", o.peer}, {"listen", o.listen}} {
		if address.value == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address.value); err != nil {
			return usagef("--%s is HOST:PORT, not %q", address.flag, address.value)
		}
	}
	return nil
}

func checkHold(hold time.Duration) error {
	if hold < leastHold || hold > mostHold {
		return usagef("--peer-timeout is between %v and %v, not %v", leastHold, mostHold, hold)
	}
	return nil
}

func verifyPairVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify-pair VOLUME",
		Short: "Compare both sides of a pair",
		Long: `Have both sides of a pair compare all their disks by checksums, as they were at a common
checkpoint, while the guest goes on. VOLUME is one of the primary's.`,
		Example:           `  belay verify-pair /var/lib/belay/web`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			var r control.PairReport
			err := a.withPair(args[0], func(p control.Paired) (err error) {
				r, err = p.VerifyPair(cmd.Context())
				return err
			})
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printPairReport(w, r) }); err != nil {
				return err
			}
			if len(r.Differ) > 0 {
				return about(args[0], fmt.Errorf("the sides differ in %d places", len(r.Differ)))
			}
			return nil
		}),
	}
}

func printPairReport(w io.Writer, r control.PairReport) {
	fmt.Fprintf(w, "compared %s at checkpoint %s\n", amount(r.Bytes), r.At)
	for _, d := range r.Differ {
		fmt.Fprintf(w, "disk %d differs from byte %d, %d bytes\n", d.Disk, d.Off, d.Len)
	}
}

// withPair lets a verb speak with the process that serves a side of a pair.
func (a *app) withPair(dir string, work func(control.Paired) error) error {
	client, err := control.Dial(dir)
	if err == nil {
		err = work(client)
		if closed := client.Close(); err == nil {
			err = closed
		}
	}
	return about(dir, err)
}
