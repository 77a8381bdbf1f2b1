package pair

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// duo is a protected pair.
type duo struct {
	t    *testing.T
	dirs [2]string
	p, s *side
}

// newDuo makes a pair of a disk with something on it, whose guest writes all the time, up to the first load.
func newDuo(t *testing.T) *duo { return newDuoWith(t, nil, nil) }

// newDuoWith has other witnesses than the operator.
func newDuoWith(t *testing.T, p, s witness.Witness) *duo {
	t.Helper()
	d := &duo{t: t}
	for i := range d.dirs {
		d.dirs[i] = filepath.Join(t.TempDir(), "vol")
		must(t, checkpoint.Create(d.dirs[i], checkpoint.CreateOptions{Size: testSize}))
	}
	fill(t, d.dirs[0], diskBlocks)
	fill(t, d.dirs[1], 9) // goes
	d.s = startSide(t, d.dirs[1], sideOptions{secondary: true, salt: 2, witness: s})
	d.p = startSide(t, d.dirs[0], sideOptions{peer: d.s, salt: 1, witness: p})
	d.p.machine.boot()
	d.p.machine.guest.write(-1)
	d.join()
	return d
}

// fill writes to the first blocks of a volume that nobody serves.
func fill(t *testing.T, dir string, blocks int) {
	t.Helper()
	s, err := checkpoint.Open(dir, checkpoint.Options{})
	must(t, err)
	for i := range blocks {
		write(t, &volume{Store: s}, i, byte(i))
	}
	must(t, s.Close())
}

// join waits for the migration and ends it.
func (d *duo) join() {
	d.t.Helper()
	until(d.t, "the migration", d.p.machine.migrates)
	d.checkpoint()
	d.p.await("protected")
	d.s.await("protected")
}

// checkpoint makes one and compares both disks as they were at the seal.
func (d *duo) checkpoint() {
	d.t.Helper()
	before := d.s.pair.Status().Epoch
	d.p.machine.checkpoint(d.s.machine, func() {
		until(d.t, "the next epoch", func() bool { return d.s.pair.Status().Epoch > before })
		at := mirror.Mark{Generation: d.p.pair.Status().Generation, Epoch: d.s.pair.Status().Epoch}
		if !bytes.Equal(d.p.at(at), d.s.at(at)) {
			d.t.Fatalf("the disks differ at %v", at)
		}
	})
}

// some lets both guests write something.
func (d *duo) some() {
	d.t.Helper()
	for _, s := range []*side{d.p, d.s} {
		begun := s.machine.guest.begun()
		s.machine.guest.write(-1)
		until(d.t, "the guest writes", func() bool { return s.machine.guest.begun() > begun+20 })
	}
}

// TestCheckpointsUnderWrites brings over a disk that is written to, and then epoch after epoch. The
// secondary's guest runs ahead; each load drops that.
func TestCheckpointsUnderWrites(t *testing.T) {
	d := newDuo(t)
	for range 20 {
		d.some()
		d.checkpoint()
	}
	d.p.machine.guest.quiet()
	d.checkpoint()
	d.s.machine.guest.write(50)
	until(t, "own writes", func() bool { return !bytes.Equal(content(t, d.p.volume), content(t, d.s.volume)) })
	d.s.check("with writes of its own")
	d.checkpoint()
	d.s.check("loaded")
	d.p.check("at the end")
	if !bytes.Equal(content(t, d.p.volume), content(t, d.s.volume)) {
		t.Error("the disks differ")
	}
	report, err := d.p.pair.Verify(context.Background())
	if err != nil || report.Bytes != testSize || len(report.Differ) > 0 {
		t.Errorf("compared: %+v, %v", report, err)
	}
}

// die ends the primary's host.
func (d *duo) die() {
	d.p.machine.guest.pause()
	d.s.net.cut()
	d.p.close()
	d.s.machine.leave("error")
}

// takeOver has the operator decide, when the secondary may.
func (d *duo) takeOver() {
	d.t.Helper()
	d.s.await("orphaned")
	must(d.t, d.s.pair.Failover(context.Background()))
	d.s.expire()
	until(d.t, "the secondary is the primary", func() bool { return d.s.pair.Status().Role == "primary" })
	d.s.await("alone")
}

// newer holds a disk to what a guest was told once: all of that is there, or later writes.
func newer(t *testing.T, told, now []uint64) {
	t.Helper()
	for block, tag := range told {
		if now[block]>>8 < tag>>8 {
			t.Fatalf("block %d: write %d was told, %d is there", block, tag>>8, now[block]>>8)
		}
	}
}

// TestTakeOver loses the primary and keeps what its guest was told before the last seal, and what the
// secondary's has written since.
func TestTakeOver(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.p.machine.guest.quiet()
	told := d.p.machine.guest.told()
	d.checkpoint()
	d.some() // of the primary's this is lost
	own := d.s.machine.guest.told()
	d.die()
	d.takeOver()
	d.s.check("taken over")
	newer(t, told, d.s.machine.guest.told())
	newer(t, own, d.s.machine.guest.told())
	if state, ok := d.s.volume.Pair(); !ok || state.Role != checkpoint.RolePrimary || state.Poisoned {
		t.Errorf("the volume says %+v", state)
	}
}

// TestTakeOverWithSealedEpoch loses the primary between the seal and the load: the epoch is not made current.
func TestTakeOverWithSealedEpoch(t *testing.T) {
	d := newDuo(t)
	d.some()
	epoch := d.s.pair.Status().Epoch
	if !d.p.machine.halves(d.s.machine) {
		t.Fatal("a machine ended")
	}
	d.die()
	d.takeOver()
	d.s.check("taken over")
	if now := d.s.pair.Status().Epoch; now != epoch {
		t.Errorf("epoch %d is current, not %d", now, epoch)
	}
}

// TestOperatorDecides refuses a failover while the primary is there, and takes none without one.
func TestOperatorDecides(t *testing.T) {
	d := newDuo(t)
	if err := d.s.pair.Failover(context.Background()); err == nil {
		t.Fatal("a failover beside a primary")
	}
	if err := d.p.pair.Reprotect(context.Background(), "127.0.0.1:1", "tcp:127.0.0.1:1"); err == nil {
		t.Fatal("a protected side takes another partner")
	}
	d.die()
	d.s.await("orphaned")
	d.s.expire()
	until(t, "the witness is asked", func() bool {
		return bytes.Contains([]byte(d.s.log.text()), []byte("the witness has not decided"))
	})
	if s := d.s.pair.Status(); s.Role != "secondary" || s.State != "orphaned" {
		t.Errorf("without a word it is %+v", s)
	}
	d.takeOver()
	d.s.check("decided")
}
