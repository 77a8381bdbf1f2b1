package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
)

// inGuest is the loop whose front end is QEMU and whose load is fio.
type inGuest struct {
	o      options
	target *target
	rand   *rand.Rand
	server *daemon.Daemon
	vm     *guest.VM
}

func runGuest(o options, out io.Writer) error {
	t, err := newTarget(o)
	if err != nil {
		return err
	}
	g := &inGuest{o: o, target: t, rand: rand.New(rand.NewPCG(o.seed, 0))}
	err = g.rounds(out)
	if err != nil && g.server != nil {
		err = fmt.Errorf("%w\nthe backend's log:\n%s", err, g.server.Log())
	}
	g.close()
	if err != nil {
		return fmt.Errorf("%w\nthe volume is kept in %s", err, t.dir)
	}
	return t.remove()
}

func (g *inGuest) close() {
	if g.vm != nil {
		g.vm.Kill()
	}
	if g.server != nil {
		g.server.Kill()
	}
}

func (g *inGuest) rounds(out io.Writer) (err error) {
	if g.server, err = g.target.serve(); err != nil {
		return err
	}
	g.vm, err = guest.Boot(context.Background(), guest.Config{Disks: []guest.Disk{{
		Socket: g.target.socket, Queues: g.o.queues, Packed: g.o.packed,
	}}})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "the guest runs under", g.vm.Accel())
	for n := range g.o.rounds {
		if err := g.round(n); err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		fmt.Fprintf(out, "round %d: written under kills, killed once more, verified\n", n)
	}
	if err := g.vm.PowerOff(); err != nil {
		return err
	}
	if err := g.server.Stop(); err != nil || g.target.belay == "" {
		return err
	}
	_, err = g.target.verb("check", g.target.volume)
	return err
}

// fio writes to the bare disk past the page cache and never flushes: what it verifies later
// was completed, no more. The seed differs in each round, so that an older round's data is
// not taken for this one's.
const fio = "fio --name=crash --filename=/dev/vda --size=12M --offset_increment=64M --numjobs=2 " +
	"--direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --randseed=%d " +
	"--verify=crc32c --verify_fatal=1 --output=/tmp/fio.log %s || { cat /tmp/fio.log; exit 1; }"

func (g *inGuest) round(n int) error {
	seed := g.o.seed + uint64(n) + 1
	written := make(chan error, 1)
	go func() {
		_, err := g.vm.Run(fmt.Sprintf(fio, seed, "--do_verify=0"))
		written <- err
	}()
	if err := g.killDuring(written); err != nil {
		return err
	}
	if err := g.restart(); err != nil { // completed, never flushed
		return err
	}
	if _, err := g.vm.Run(fmt.Sprintf(fio, seed, "--verify_only")); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if out, err := g.vm.Run("! dmesg | grep -i 'i/o error'"); err != nil {
		return fmt.Errorf("the guest saw an I/O error: %s", out)
	}
	return nil
}

// killDuring kills the server up to three times while the guest writes.
func (g *inGuest) killDuring(written <-chan error) error {
	for range 3 {
		if done, err := g.awaitLoad(written); done {
			return err
		}
		if err := g.restart(); err != nil {
			return err
		}
	}
	return <-written
}

// awaitLoad waits until the disk completed some more requests, or the writing ended.
func (g *inGuest) awaitLoad(written <-chan error) (bool, error) {
	goal, deadline := -1, time.Now().Add(daemon.Patience)
	for {
		count, err := g.requests()
		if err != nil {
			return true, err
		}
		if goal < 0 {
			goal = count + 100 + g.rand.IntN(1000)
		}
		if count >= goal {
			return false, nil
		}
		if time.Now().After(deadline) {
			return true, errors.New("the guest's disk makes no progress")
		}
		select {
		case err := <-written:
			return true, err
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func (g *inGuest) requests() (int, error) {
	out, err := g.vm.Run("awk '{print $1 + $5}' /sys/block/vda/stat")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

func (g *inGuest) restart() (err error) {
	g.server.Kill()
	g.server, err = g.target.serve()
	return err
}
