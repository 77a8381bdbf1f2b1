package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// subject is a kind of pair.
type subject struct {
	// start boots both machines and has them begin COLO.
	start func(ctx context.Context, l *lab) error
	// failover has the secondary go on alone, once the primary is gone.
	failover func(s *pair.Machine, ctx context.Context) error
	// noLoad leaves out what a backend does not survive.
	noLoad bool
}

var subjects = map[string]subject{
	"bare": {start: unreplicated(belayServe), failover: (*pair.Machine).Failover},
	// Version 7.2 lets its rings be stopped while requests run, and ends soon after.
	"qsd":  {start: unreplicated(storageDaemon), failover: (*pair.Machine).Failover, noLoad: true},
	"qemu": {start: replicated, failover: (*pair.Machine).FailoverReplica},
}

func names() []string { return slices.Sorted(maps.Keys(subjects)) }

// Ports on a side's address.
const (
	guestPort = 4444
	nbdPort   = 4445
)

// lab is a pair and what it stands on. The primary is on side A.
type lab struct {
	options
	net     *pair.Net
	p, s    *pair.Machine
	servers [2]*daemon.Daemon
}

func newLab(o options) (*lab, error) {
	net, err := pair.NewNet()
	return &lab{options: o, net: net}, err
}

func (l *lab) close() {
	l.killPrimary()
	if l.s != nil {
		l.s.Kill()
	}
	for _, d := range l.servers {
		if d != nil {
			d.Kill()
		}
	}
	l.net.Close()
}

// killPrimary ends a host: QEMU and the backend beside it.
func (l *lab) killPrimary() {
	if l.p != nil {
		l.p.Kill()
	}
	if d := l.servers[pair.A]; d != nil {
		d.Kill()
	}
}

func (l *lab) uri() string { return l.net.Side(pair.B).URI(guestPort) }

// boot starts the primary, then the secondary.
func (l *lab) boot(ctx context.Context, p, s guest.Config) error {
	s.Incoming = l.uri()
	for _, c := range []*guest.Config{&p, &s} {
		c.CPUs = 1
		if l.verbose {
			c.Console = os.Stderr
		}
	}
	var err error
	if l.p, err = l.net.Side(pair.A).Boot(ctx, p); err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	if l.s, err = l.net.Side(pair.B).Boot(ctx, s); err != nil {
		return fmt.Errorf("secondary: %w", err)
	}
	return nil
}

// serve is how a backend makes a volume and serves it.
type serve func(l *lab, volume, socket string) (daemon.Command, error)

func belayServe(l *lab, volume, socket string) (daemon.Command, error) {
	out, err := exec.Command(l.belay, "create", volume, "--size", fmt.Sprintf("%dM", l.sizeMiB)).CombinedOutput()
	if err != nil {
		return daemon.Command{}, fmt.Errorf("%s create: %w: %s", l.belay, err, out)
	}
	return daemon.Command{Args: []string{l.belay, "serve", volume, "--socket-path", socket}}, nil
}

func storageDaemon(l *lab, volume, socket string) (daemon.Command, error) {
	return daemon.Command{Socket: socket, Args: []string{"qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=f,discard=unmap,cache.direct=on,filename=" + volume,
		"--export", "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path=" + socket,
	}}, l.makeImage(volume)
}

// makeImage makes an empty raw image.
func (l *lab) makeImage(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(l.sizeMiB<<20), f.Close())
}

// unreplicated is a pair whose disks nobody keeps equal.
func unreplicated(how serve) func(context.Context, *lab) error {
	return func(ctx context.Context, l *lab) error {
		var confs [2]guest.Config
		for _, id := range []pair.ID{pair.A, pair.B} {
			side := l.net.Side(id)
			socket := side.Path("disk")
			command, err := how(l, side.Path("volume"), socket)
			if err != nil {
				return err
			}
			command.Args = side.Inside(command.Args...)
			if l.servers[id], err = daemon.Start(command); err != nil {
				return err
			}
			confs[id].Disks = []guest.Disk{{Socket: socket, Queues: 1}}
		}
		if err := l.boot(ctx, confs[pair.A], confs[pair.B]); err != nil {
			return err
		}
		return l.p.StartCOLO(ctx, l.s, l.uri(), l.delay)
	}
}

// replicated is QEMU's own way.
func replicated(ctx context.Context, l *lab) error {
	a, b := l.net.Side(pair.A), l.net.Side(pair.B)
	for _, side := range []*pair.Side{a, b} {
		if err := l.makeImage(side.Path("image")); err != nil {
			return err
		}
	}
	args, err := b.ReplicaSecondary(ctx, b.Path("image"), l.sizeMiB<<20)
	if err != nil {
		return err
	}
	p := guest.Config{Args: pair.ReplicaPrimary(a.Path("image"))}
	if err := l.boot(ctx, p, guest.Config{Args: args}); err != nil {
		return err
	}
	if err := l.p.Replicate(ctx, l.s, nbdPort); err != nil {
		return err
	}
	return l.p.StartCOLO(ctx, l.s, l.uri(), l.delay)
}

// seconds is a load's length as fio takes it.
func (l *lab) seconds() string { return strconv.Itoa(int(l.load.Seconds())) }
