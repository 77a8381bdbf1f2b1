package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/spf13/cobra"
)

// failoverOptions are for a volume that nobody serves.
type failoverOptions struct {
	witnessOptions
	disks []string
	hold  time.Duration
	force bool
}

func failoverVerb(a *app) *cobra.Command {
	var o failoverOptions
	cmd := &cobra.Command{
		Use:   "failover VOLUME",
		Short: "Have the surviving side of a pair go on alone",
		Long: `Tell the process that serves a side of a pair to go on alone. On the secondary of a pair with
--manual this is what lets it take over: say it only when the primary is dead for certain, or two
guests will run. It is refused while both sides are there. On the primary it gives the secondary up.

Where no process serves the volume any more, because the hosts of both sides died and the last
primary's is gone for good, this makes the secondary's volume the primary's: it goes back to the
newest checkpoint that both sides had, which is what a power cut would have left, and 'belay pair
primary' serves it from then on. That needs the witness of the pair, --etcd or --manual, and all
disks of the machine. What is lost beyond that checkpoint is said where it may be much, and wants
--force.`,
		Example: `  belay failover /var/lib/belay/web
  belay failover /var/lib/belay/web --etcd etcd1:2379,etcd2:2379,etcd3:2379`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			err := a.withPair(args[0], func(p control.Paired) error { return p.Failover(cmd.Context()) })
			if !errors.Is(err, control.ErrNotServed) {
				return err
			}
			if len(o.etcd) == 0 && !o.manual {
				return fmt.Errorf("%w; --etcd or --manual make it the primary's without one", err)
			}
			return a.revive(cmd.Context(), append([]string{args[0]}, o.disks...), o)
		}),
	}
	f := cmd.Flags()
	o.witnessOptions.flags(f)
	f.StringArrayVar(&o.disks, "disk", nil,
		"another volume of the same machine, where no process serves them; may be repeated")
	f.DurationVar(&o.hold, "peer-timeout", pair.DefaultHold,
		"as the pair has it: a volume that nobody serves waits four times as long, as its side promised")
	f.BoolVar(&o.force, "force", false,
		"start from an old checkpoint, too, and give up what the other side did since")
	return cmd
}

// revive makes volumes that nobody serves the primary's.
func (a *app) revive(ctx context.Context, dirs []string, o failoverOptions) (err error) {
	if err := o.checkWitness(); err != nil {
		return err
	}
	if err := checkHold(o.hold); err != nil {
		return err
	}
	times := pair.TimesFor(o.hold)
	r := pair.Revival{Force: o.force, Promise: times.Promise + times.Skew}
	for _, dir := range dirs {
		s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: maxPairUnretired,
			LockWait: lockWait(dir)})
		if err != nil {
			return about(dir, told(err))
		}
		defer func() {
			if closed := s.Close(); err == nil {
				err = about(dir, told(closed))
			}
		}()
		r.Stores = append(r.Stores, s)
	}
	if state, ok := r.Stores[0].Pair(); ok && !o.manual {
		if r.Witness, err = o.openEtcd(pair.Self(r.Stores[0]), state.Pair, reviveTimeout); err != nil {
			return about(dirs[0], err)
		}
		defer func() { err = errors.Join(err, r.Witness.Close()) }()
	}
	done, err := r.Do(ctx)
	if err != nil {
		return about(dirs[0], told(err))
	}
	return a.print(done, func(w io.Writer) {
		from := "with its disks as they were"
		if done.At != nil {
			from = fmt.Sprintf("from checkpoint %s of %s", done.Checkpoint, clock(*done.At))
		}
		fmt.Fprintf(w, "the primary's now, generation %d, %s: 'belay pair primary' starts it\n",
			done.Generation, from)
	})
}

// reviveTimeout is for an etcd that is asked once.
const reviveTimeout = 5 * time.Second

func reprotectVerb(a *app) *cobra.Command {
	var to control.Reprotect
	cmd := &cobra.Command{
		Use:   "reprotect VOLUME --peer HOST:PORT --migrate-uri URI",
		Short: "Give a side that is alone a partner",
		Long: `Tell the process that serves the surviving side of a pair to look for a secondary: a new one, or
the one that was there before. Only what changed since the last common checkpoint is sent. 'belay
status' shows how far it is.`,
		Example:           `  belay reprotect /var/lib/belay/web --peer b:7000 --migrate-uri tcp:b:7001`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if to.Peer == "" || to.MigrateURI == "" {
				return usagef("--peer and --migrate-uri are needed")
			}
			if _, _, err := net.SplitHostPort(to.Peer); err != nil {
				return usagef("--peer is HOST:PORT, not %q", to.Peer)
			}
			return a.withPair(args[0], func(p control.Paired) error { return p.Reprotect(cmd.Context(), to) })
		}),
	}
	cmd.Flags().StringVar(&to.Peer, "peer", "", "where the secondary's belay listens, HOST:PORT")
	cmd.Flags().StringVar(&to.MigrateURI, "migrate-uri", "",
		"where the secondary's QEMU awaits the guest, tcp:HOST:PORT")
	return cmd
}
