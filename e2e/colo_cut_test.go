//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// manyPages has the guest write to so much memory, all the time, that no socket's buffers take what a
// checkpoint has to carry.
const manyPages = `dd if=/dev/urandom of=/run/many bs=1M count=48 2>/dev/null
( while :; do cat /run/many >/run/copy; done ) &`

// TestColoCutInTransfer cuts the link while a checkpoint's memory is on its way: the secondary's QEMU
// sits in a read that never ends, with its big lock held, and does not answer. One side goes on.
func TestColoCutInTransfer(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	shell(t, s.vms[pair.A], manyPages)
	s.cutInTransfer(ctx)
	winner := s.oneGoesOn(ctx)
	s.sound(winner)
}

// TestColoCutOff is the same, but the primary does not reach the witness either. The secondary has to get
// out of its read and go on from the state before; the primary stands still, and ends when it hears of that.
func TestColoCutOff(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	a := s.vms[pair.A]
	shell(t, a, manyPages)
	s.doors[pair.A].shut()
	s.cutInTransfer(ctx)
	s.await(ctx, pair.B, "alone")
	mark := a.Lines.Len()
	s.goesOn(ctx, pair.B)
	if n := a.Lines.Len() - mark; n > 0 {
		t.Errorf("the old primary's guest has said %d lines since the other side serves", n)
	}
	s.doors[pair.A].open()
	s.nothingLeft(ctx, pair.A)
	s.goesOn(ctx, pair.B)
	s.sound(pair.B)
}

// TestColoCutAtFirst cuts the link while the guest's memory is sent for the first time: nobody could take
// over, so the primary goes on, and can be protected when the link is there again.
func TestColoCutAtFirst(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.primary(pair.A)
	a := s.boot(ctx, pair.A, "")
	s.ledger(pair.A)
	shell(t, a, "dd if=/dev/urandom of=/run/many bs=1M count=48")
	s.secondary(pair.B)
	s.boot(ctx, pair.B, s.net.Side(pair.B).URI(coloPort))
	s.await(ctx, pair.A, "paired")
	s.must("memory", a.HoldFirstMemory(ctx, s.vms[pair.B], coloPort))
	s.cutHeld()
	s.await(ctx, pair.A, "alone")
	s.nothingLeft(ctx, pair.B)
	s.goesOn(ctx, pair.A)
	s.must("restore", s.net.Restore())
	s.reprotect(ctx, pair.A)
	s.must("checkpoints", a.Checkpoints(ctx, 4))
	s.goesOn(ctx, pair.A)
}

// cutInTransfer cuts the link in the middle of the memory of a checkpoint.
func (p *sides) cutInTransfer(ctx context.Context) {
	p.t.Helper()
	p.must("memory", p.vms[pair.A].HoldMemory(ctx, p.vms[pair.B], coloPort))
	p.cutHeld()
}

// cutHeld cuts the link while B's QEMU stands still in the middle of what it is sent, and lets it go on.
func (p *sides) cutHeld() {
	p.t.Helper()
	p.must("cut", p.net.Cut())
	p.must("go on", p.vms[pair.B].GoOn())
}
