//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// followed are sides whose guest is protected and has let go of its disk: a file of random content and
// its checksum are on it.
func followed(ctx context.Context, t *testing.T) *sides {
	t.Helper()
	s := newSides(t, 1)
	s.follow(ctx)
	a := s.vms[pair.A]
	s.must("ledger", a.StopLedger(ctx))
	shell(t, a, "cd /mnt; head -c 3000000 /dev/urandom >before; sha256sum before >sums; cd /; umount /mnt")
	return s
}

// resumes mounts the disk on a side, finds what was there, and begins a new ledger.
func (p *sides) resumes(id pair.ID) {
	p.t.Helper()
	vm := p.vms[id]
	shell(p.t, vm, "mount -t ext4 /dev/vda /mnt; cd /mnt; sha256sum -c sums; rm -rf ledger; mkdir ledger")
	p.must("ledger", vm.StartLedger("/mnt/ledger", 20*time.Millisecond))
}

// diesProtected has the guest on A checkpointed a few times more, lets A's host die, and shows that the
// guest goes on at B.
func (p *sides) diesProtected(ctx context.Context) {
	p.t.Helper()
	a := p.vms[pair.A]
	p.await(ctx, pair.A, "protected")
	p.must("checkpoints", a.Checkpoints(ctx, 6))
	p.must("ledger", a.AwaitRounds(ctx, 10))
	p.await(ctx, pair.A, "protected")
	a.Kill()
	p.servers[pair.A].Kill()
	p.takeOver(ctx, pair.B)
	p.goesOn(ctx, pair.B)
	p.sound(pair.B)
}

// TestColoReboot restarts a protected guest, from inside and from outside. It stays protected.
func TestColoReboot(t *testing.T) {
	for _, how := range []string{"reboot", "reset"} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			s := followed(ctx, t)
			if how == "reboot" {
				s.must(how, s.vms[pair.A].Reboot())
			} else {
				s.must(how, s.vms[pair.A].Reset())
			}
			s.resumes(pair.A)
			s.diesProtected(ctx)
		})
	}
}

// The driver of the disk, taken off it and put on it again. The device stays the same.
const (
	unbind = `dev=$(basename "$(readlink -f /sys/block/vda/device)"); echo "$dev" >/run/dev
		echo "$dev" >/sys/bus/virtio/drivers/virtio_blk/unbind; test ! -e /sys/block/vda`
	bind = `cat /run/dev >/sys/bus/virtio/drivers/virtio_blk/bind; test -e /sys/block/vda`
)

// TestColoRebind has checkpoints go by while the disk has no driver. The pair stays protected, whether the
// primary dies with a driver on the disk or without.
func TestColoRebind(t *testing.T) {
	t.Run("bound", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		s := followed(ctx, t)
		for range 3 {
			shell(t, s.vms[pair.A], unbind)
			s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 3))
			shell(t, s.vms[pair.A], bind)
		}
		s.resumes(pair.A)
		s.diesProtected(ctx)
	})
	t.Run("unbound", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		s := followed(ctx, t)
		shell(t, s.vms[pair.A], unbind)
		s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 5))
		s.await(ctx, pair.A, "protected")
		s.vms[pair.A].Kill()
		s.servers[pair.A].Kill()
		s.takeOver(ctx, pair.B)
		s.must("takes over", s.vms[pair.B].TakeOver(ctx))
		shell(t, s.vms[pair.B], bind)
		s.resumes(pair.B)
		s.goesOn(ctx, pair.B)
		s.sound(pair.B)
	})
}
