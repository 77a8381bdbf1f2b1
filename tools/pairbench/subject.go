package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// subject is a kind of pair.
type subject struct {
	// start boots both machines and has them begin COLO.
	start func(ctx context.Context, l *lab) error
	// word tells the secondary to go on alone.
	word func(ctx context.Context, l *lab) error
	// free waits until the secondary, whose primary's host is gone, may take over; nil: at once.
	free func(ctx context.Context, l *lab) error
	// resync gives the survivor on side B a partner on side A, as far as the disk is concerned; nil: nobody
	// can.
	resync func(ctx context.Context, l *lab) error
	// diskPort is where the secondary's disk listens; 0: nothing is carried.
	diskPort int
	// hears says that nobody has to give the word when the primary's QEMU has died.
	hears bool
	// noLoad leaves out what a backend does not survive.
	noLoad bool
}

var subjects = map[string]subject{
	"bare": {start: unreplicated(belayServe), word: plainWord},
	// Version 7.2 lets its rings be stopped while requests run, and ends soon after.
	"qsd": {start: unreplicated(storageDaemon), word: plainWord, noLoad: true},
	"belay": {start: mirrored, word: belayWord, free: promiseEnds, resync: reprotect, diskPort: mirrorPort,
		hears: true},
	"qemu": {start: replicated, word: replicaWord, resync: mirrorAgain, diskPort: nbdPort},
}

func names() []string { return slices.Sorted(maps.Keys(subjects)) }

func plainWord(ctx context.Context, l *lab) error { return l.vms[pair.B].Failover(ctx) }

func replicaWord(ctx context.Context, l *lab) error { return l.vms[pair.B].FailoverReplica(ctx) }

// serve is how a backend makes a volume and serves it.
type serve func(l *lab, volume, socket string) (daemon.Command, error)

func belayServe(l *lab, volume, socket string) (daemon.Command, error) {
	args := []string{l.belay, "serve", volume, "--socket-path", socket}
	return daemon.Command{Args: args}, l.createVolume(volume)
}

func storageDaemon(l *lab, volume, socket string) (daemon.Command, error) {
	return daemon.Command{Socket: socket, Args: []string{"qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=f,discard=unmap,cache.direct=on,filename=" + volume,
		"--export", "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path=" + socket,
	}}, l.makeImage(volume)
}

// makeImage makes a raw image, empty or with the lab's contents.
func (l *lab) makeImage(path string) error {
	if l.full != "" {
		out, err := exec.Command("cp", l.full, path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cp: %w: %s", err, out)
		}
		return nil
	}
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
		return l.startCOLO(ctx)
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
	if err := l.vms[pair.A].Replicate(ctx, l.vms[pair.B], nbdPort); err != nil {
		return err
	}
	return l.startCOLO(ctx)
}

// mirrorAgain is how QEMU's own way gives a survivor a partner: its disk, all of it, is mirrored to the
// partner's image, which the replication then goes on with.
func mirrorAgain(ctx context.Context, l *lab) error {
	a := l.net.Side(pair.A)
	l.full = "" // the image that the side had is of no use
	if err := l.makeImage(a.Path("image")); err != nil {
		return err
	}
	args, err := a.ReplicaSecondary(ctx, a.Path("image"), l.sizeMiB<<20)
	if err != nil {
		return err
	}
	if err := l.bootOne(ctx, pair.A, guest.Config{Args: args, Incoming: a.URI(guestPort)}); err != nil {
		return err
	}
	return l.vms[pair.B].MirrorReplica(ctx, l.vms[pair.A], nbdPort)
}
