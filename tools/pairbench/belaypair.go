package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// mirrored is belay's way: a side of a pair on each host, which begin COLO by themselves.
func mirrored(ctx context.Context, l *lab) error {
	for _, id := range []pair.ID{pair.A, pair.B} {
		if err := l.createVolume(l.net.Side(id).Path(volumeName)); err != nil {
			return err
		}
	}
	if l.full != "" {
		volume := l.net.Side(pair.A).Path(volumeName)
		if out, err := exec.Command(l.belay, "import", l.full, volume).CombinedOutput(); err != nil {
			return fmt.Errorf("%s import: %w: %s", l.belay, err, out)
		}
	}
	if err := l.follow(ctx, pair.B); err != nil {
		return err
	}
	if err := l.servePair(pair.A, "primary", l.partner(pair.B)...); err != nil {
		return err
	}
	if err := l.bootBelay(ctx, pair.A, ""); err != nil {
		return err
	}
	return l.awaitState(ctx, pair.A, "protected")
}

// follow makes a side the secondary of whoever calls it.
func (l *lab) follow(ctx context.Context, id pair.ID) error {
	err := l.servePair(id, "secondary", "--listen", l.address(id))
	if err != nil {
		return err
	}
	return l.bootBelay(ctx, id, l.net.Side(id).URI(guestPort))
}

// partner are the flags that name a side as the secondary.
func (l *lab) partner(id pair.ID) []string {
	return []string{"--peer", l.address(id), "--migrate-uri", l.net.Side(id).URI(guestPort),
		"--checkpoint-delay", l.delay.String()}
}

func (l *lab) address(id pair.ID) string {
	return l.net.Side(id).Addr + ":" + strconv.Itoa(mirrorPort)
}

func (l *lab) servePair(id pair.ID, role string, more ...string) (err error) {
	side := l.net.Side(id)
	words := side.Inside(l.belay, "pair", role, side.Path(volumeName), "--socket-path", side.Path(diskSocket),
		"--qmp", side.Sockets().String(), "--num-queues", "1", "--manual", "--plaintext",
		"--peer-timeout", l.peerTimeout.String(), "--log-level", l.logLevel)
	l.servers[id], err = daemon.Start(daemon.Command{Args: append(words, more...)})
	return err
}

func (l *lab) bootBelay(ctx context.Context, id pair.ID, incoming string) error {
	side := l.net.Side(id)
	return l.bootOne(ctx, id, guest.Config{Incoming: incoming,
		Disks: []guest.Disk{{Socket: side.Path(diskSocket), Queues: 1}}})
}

// ask has a side's belay answer a question.
func (l *lab) ask(id pair.ID, question func(*control.Client) error) error {
	c, err := control.Dial(l.net.Side(id).Path(volumeName))
	if err != nil {
		return err
	}
	return errors.Join(question(c), c.Close())
}

// awaitState waits until a side is in a state.
func (l *lab) awaitState(ctx context.Context, id pair.ID, state string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var s control.Status
	for {
		err := l.ask(id, func(c *control.Client) (err error) {
			s, err = c.Status(ctx)
			return err
		})
		if err == nil && s.Pair != nil && s.Pair.State == state {
			return nil
		}
		select {
		case <-tick.C:
		case <-l.servers[id].Exited():
			return fmt.Errorf("belay %v has ended:\n%s", id, l.servers[id].Log())
		case <-ctx.Done():
			return fmt.Errorf("belay %v is not %q (%+v): %w", id, state, s.Pair, ctx.Err())
		}
	}
}

// belayWord is the operator's word.
func belayWord(ctx context.Context, l *lab) error {
	return l.ask(pair.B, func(c *control.Client) error { return c.Failover(ctx) })
}

// promiseEnds waits until the secondary has asked the witness, which is the operator: its promise to the
// primary has run out.
func promiseEnds(ctx context.Context, l *lab) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(l.servers[pair.B].Log(), "the witness has not decided") {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the promise's end: %w", ctx.Err())
		}
	}
	return nil
}

// reprotect has the survivor on side B protected again by the volume that side A had.
func reprotect(ctx context.Context, l *lab) error {
	if err := l.follow(ctx, pair.A); err != nil {
		return err
	}
	a := control.Reprotect{Peer: l.address(pair.A), MigrateURI: l.net.Side(pair.A).URI(guestPort)}
	err := l.ask(pair.B, func(c *control.Client) error { return c.Reprotect(ctx, a) })
	if err != nil {
		return err
	}
	return l.awaitState(ctx, pair.B, "protected")
}
