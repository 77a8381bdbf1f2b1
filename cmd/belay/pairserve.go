package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/guard"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/qmp"
	"github.com/hashicorp/go-hclog"
)

// maxPairUnretired is how many checkpoints may wait for the secondary to make them current.
const maxPairUnretired = 64

// servedDisk is one disk of a side and where its front end connects.
type servedDisk struct {
	dir, socket string
	store       *checkpoint.Store
}

// servePair runs a side of a pair until the context ends or the side is out.
func (a *app) servePair(ctx context.Context, dir string, o pairOptions) (err error) {
	sockets, err := qmp.ParseSockets(o.qmp)
	if err != nil {
		return err
	}
	log := a.logger(o.logLevel)
	disks := []*servedDisk{{dir: dir, socket: o.socketPath}}
	for _, d := range o.disks {
		more, socket, _ := strings.Cut(d, "=")
		disks = append(disks, &servedDisk{dir: more, socket: socket})
	}
	defer func() {
		for _, d := range disks {
			if d.store != nil {
				if closed := d.store.Close(); err == nil {
					err = about(d.dir, told(closed))
				}
			}
		}
	}()
	for _, d := range disks {
		d.store, err = checkpoint.Open(d.dir, checkpoint.Options{Pair: true, MaxUnretired: maxPairUnretired,
			LockWait: lockWait(d.dir), Log: log.Named("store")})
		if err != nil {
			return about(d.dir, told(err))
		}
	}
	cfg, err := o.config(disks, sockets, log)
	if err != nil {
		return about(dir, err)
	}
	defer func() { err = errors.Join(err, cfg.Witness.Close()) }()
	make := pair.NewSecondary
	if o.primary {
		make = pair.NewPrimary
	}
	side, err := make(cfg)
	if err != nil {
		return about(dir, err)
	}
	if err := side.MayServe(ctx); err != nil {
		return about(dir, err)
	}
	if err := side.ComeBack(ctx); err != nil {
		return about(dir, err)
	}
	return about(dir, a.runPair(ctx, side, disks, o, log))
}

// config is what the side is told.
func (o *pairOptions) config(disks []*servedDisk, sockets qmp.Sockets,
	log hclog.Logger) (pair.Config, error) {
	cfg := pair.Config{
		Name: o.name, Sockets: sockets, Peer: o.peer, MigrateURI: o.migrateURI, Delay: o.delay,
		Alone: o.alone, SyncRate: o.perSecond, Window: o.inFlight,
		Times: pair.TimesFor(o.hold), Guard: guard.New(log.Named("guard")), Log: log.Named("pair"),
	}
	for _, d := range disks {
		cfg.Stores = append(cfg.Stores, d.store)
	}
	cfg.Transport.Timeout = cfg.Times.Silence
	var err error
	if cfg.Cards, err = o.cards(); err != nil {
		return cfg, err
	}
	if !o.plaintext {
		if cfg.Transport.TLS, err = mirror.LoadTLS(o.cert, o.key, o.ca); err != nil {
			return cfg, err
		}
	}
	if !o.primary {
		if cfg.Listener, err = net.Listen("tcp", o.listen); err != nil {
			return cfg, fmt.Errorf("await the primary: %w", err)
		}
	}
	cfg.Witness, err = o.witness(disks[0].store)
	return cfg, err
}

// runPair serves all disks beside the side that they belong to, and ends all when one of them ends.
func (a *app) runPair(ctx context.Context, side *pair.Pair, disks []*servedDisk, o pairOptions,
	log hclog.Logger) error {
	servers := prepareServers(side, disks, o, log)
	serving, stop := context.WithCancel(context.Background())
	defer stop()
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	var work sync.WaitGroup
	errs := make(chan error, len(servers)+1)
	ready := make(chan string, len(servers))
	for i, s := range servers {
		work.Go(func() {
			errs <- s.run(serving, onPath(disks[i].socket), func(name string) error {
				ready <- name
				return nil
			})
		})
	}
	err := a.awaitReady(ready, errs, len(servers))
	if err == nil {
		ended := make(chan error, 1)
		go func() { ended <- side.Run(ctx) }()
		select {
		case err = <-ended:
		case err = <-errs: // a disk is not served any more
			leave()
			err = errors.Join(err, <-ended)
		}
	}
	stop()
	work.Wait()
	return err
}

// prepareServers makes the devices, so that the side has all of them before it runs.
func prepareServers(side *pair.Pair, disks []*servedDisk, o pairOptions, log hclog.Logger) []*server {
	var servers []*server
	for i, d := range disks {
		s := &server{volume: volume{d.store, d.dir}, options: o.serveOptions, log: log, since: time.Now(),
			pair: &pairSide{pair: side, index: i}}
		servers = append(servers, s)
	}
	return servers
}

// awaitReady says that QEMU may be started when every disk awaits it.
func (a *app) awaitReady(ready <-chan string, errs <-chan error, n int) error {
	var first string
	for range n {
		select {
		case name := <-ready:
			if first == "" {
				first = name
			}
		case err := <-errs:
			return err
		}
	}
	return a.ready(first)
}
