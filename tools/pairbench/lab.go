package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// Ports on a side's address.
const (
	guestPort  = 4444
	nbdPort    = 4445
	mirrorPort = 7000
)

// Names in a side's directory.
const (
	volumeName = "volume"
	diskSocket = "disk"
)

// lab is a pair and what it stands on. The primary is on side A at first.
type lab struct {
	options
	net     *pair.Net
	vms     [2]*pair.Machine
	servers [2]*daemon.Daemon
	traffic *pair.Traffic
	full    string // a file with what the disk is to hold at first; empty: zeroes
}

func newLab(o options) (*lab, error) {
	net, err := pair.NewNet()
	if err != nil {
		return nil, err
	}
	l := &lab{options: o, net: net}
	if l.traffic, err = net.Count(); err != nil {
		net.Close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	for _, id := range []pair.ID{pair.A, pair.B} {
		l.killHost(id)
		if d := l.servers[id]; l.verbose && d != nil {
			fmt.Fprintf(os.Stderr, "backend %v:\n%s\n", id, d.Log())
		}
	}
	_ = l.traffic.Close() // nobody reads it any more
	l.net.Close()
}

// killHost ends QEMU and the backend beside it. The backend goes first: it might tell the other side.
func (l *lab) killHost(id pair.ID) {
	if d := l.servers[id]; d != nil {
		d.Kill()
	}
	if vm := l.vms[id]; vm != nil {
		vm.Kill()
	}
}

// boot starts the primary, then the secondary.
func (l *lab) boot(ctx context.Context, p, s guest.Config) error {
	s.Incoming = l.net.Side(pair.B).URI(guestPort)
	if err := l.bootOne(ctx, pair.A, p); err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	if err := l.bootOne(ctx, pair.B, s); err != nil {
		return fmt.Errorf("secondary: %w", err)
	}
	return nil
}

func (l *lab) bootOne(ctx context.Context, id pair.ID, c guest.Config) (err error) {
	c.CPUs = 1
	if l.verbose {
		c.Console = os.Stderr
	}
	l.vms[id], err = l.net.Side(id).Boot(ctx, c)
	return err
}

// startCOLO makes side A the primary by hand.
func (l *lab) startCOLO(ctx context.Context) error {
	return l.vms[pair.A].StartCOLO(ctx, l.vms[pair.B], l.net.Side(pair.B).URI(guestPort), l.delay)
}

func (l *lab) createVolume(path string) error {
	out, err := exec.Command(l.belay, "create", path, "--size", fmt.Sprintf("%dM", l.sizeMiB)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s create: %w: %s", l.belay, err, out)
	}
	return nil
}
