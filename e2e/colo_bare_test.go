//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// coloPort is where a side's QEMU awaits its guest.
const coloPort = 4444

// bare is two machines on volumes that were made equal once and are not kept so: COLO for the
// memory, nothing for the disk. It shows what the harness and QEMU do without us.
type bare struct {
	t       *testing.T
	net     *pair.Net
	servers [2]*daemon.Daemon
	vms     [2]*pair.Machine
}

// serveAt serves a volume on a side.
func (b *bare) serveAt(id pair.ID, volume string) {
	b.t.Helper()
	side := b.net.Side(id)
	c := underTest().serve(volume, side.Path("disk"), 1)
	c.Args = side.Inside(c.Args...)
	server, err := daemon.Start(c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.servers[id] = server
}

// bootAt starts a machine on a side.
func (b *bare) bootAt(ctx context.Context, id pair.ID, incoming string) {
	b.t.Helper()
	side := b.net.Side(id)
	disk := guest.Disk{Socket: side.Path("disk"), Queues: 1}
	conf := guest.Config{Disks: []guest.Disk{disk}, CPUs: 1, Incoming: incoming}
	if os.Getenv("BELAY_E2E_CONSOLE") != "" {
		conf.Console = os.Stderr
	}
	vm, err := side.Boot(ctx, conf)
	if err != nil {
		b.t.Fatal(err)
	}
	b.vms[id] = vm
}

func (b *bare) end() {
	for id := range b.vms {
		if b.vms[id] != nil {
			b.vms[id].Kill()
		}
		if b.servers[id] != nil {
			b.servers[id].Kill()
		}
	}
	b.net.Close()
}

// format makes a file system with files on a side's volume.
func (b *bare) format(ctx context.Context, id pair.ID, volume string) {
	b.t.Helper()
	b.serveAt(id, volume)
	b.bootAt(ctx, id, "")
	shell(b.t, b.vms[id], "mkfs.ext4 -q -E nodiscard /dev/vda; mount /dev/vda /mnt; mkdir /mnt/files\n"+
		"cd /mnt/files; for i in $(seq 20); do head -c $((i * 5003)) /dev/urandom >$i; done; sha256sum * >sums")
	if err := b.vms[id].PowerOff(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.servers[id].Stop(); err != nil {
		b.t.Fatal(err)
	}
}

// copyVolume copies one, file or directory, holes and all.
func copyVolume(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// newBare has a primary that runs, and a secondary that waits for it.
func newBare(ctx context.Context, t *testing.T) *bare {
	t.Helper()
	net, err := pair.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{t: t, net: net}
	t.Cleanup(b.end)
	ours, theirs := net.Side(pair.A).Path("vol"), net.Side(pair.B).Path("vol")
	underTest().create(t, ours, "256M")
	b.format(ctx, pair.A, ours)
	copyVolume(t, ours, theirs)
	b.serveAt(pair.A, ours)
	b.serveAt(pair.B, theirs)
	b.bootAt(ctx, pair.A, "")
	b.bootAt(ctx, pair.B, net.Side(pair.B).URI(coloPort))
	return b
}

// TestColoBare shows that the harness makes a pair: checkpoints while the disk is idle, then the
// primary dies and the guest goes on at the secondary; and the same the other way round.
func TestColoBare(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b := newBare(ctx, t)
	// Nothing is written: what one disk had in the other's place nobody would notice.
	shell(t, b.vms[pair.A], "mount -t ext4 -o ro /dev/vda /mnt")
	b.checkpointsAndFailover(ctx, pair.A, 20)
	b.serveAt(pair.A, b.net.Side(pair.A).Path("vol"))
	b.bootAt(ctx, pair.A, b.net.Side(pair.A).URI(coloPort))
	b.checkpointsAndFailover(ctx, pair.B, 5)
}

// checkpointsAndFailover makes a pair of both machines and lets the primary's host die.
func (b *bare) checkpointsAndFailover(ctx context.Context, primary pair.ID, checkpoints int) {
	t := b.t
	t.Helper()
	p, s := b.vms[primary], b.vms[primary.Other()]
	start := time.Now()
	b.startCOLO(ctx, primary)
	if err := p.Checkpoints(ctx, checkpoints); err != nil {
		t.Fatal(err)
	}
	shell(t, p, fmt.Sprintf("echo from %s >>/run/story", primary))
	if err := p.Checkpoints(ctx, 2); err != nil {
		t.Fatal(err)
	}
	end := time.Now()
	b.servers[primary].Kill()
	p.Kill()
	killed := time.Now()
	if err := s.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitRunning(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("failover: %v", time.Since(killed))
	if err := s.TakeOver(ctx); err != nil {
		t.Fatal(err)
	}
	shell(t, s, fmt.Sprintf("grep -q 'from %s' /run/story; echo 3 >/proc/sys/vm/drop_caches; "+
		"cd /mnt/files; sha256sum -c sums", primary))
	if err := s.Healthy(); err != nil {
		t.Error(err)
	}
	logPauses(t, "primary", p, start, end)
	logPauses(t, "secondary", s, start, end)
}

func (b *bare) startCOLO(ctx context.Context, primary pair.ID) {
	b.t.Helper()
	uri := b.net.Side(primary.Other()).URI(coloPort)
	err := b.vms[primary].StartCOLO(ctx, b.vms[primary.Other()], uri, 500*time.Millisecond)
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestColoBareCut cuts the link under COLO. Both sides live, wait for each other, and can be
// made to go on alone: without us, both.
func TestColoBareCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b := newBare(ctx, t)
	b.startCOLO(ctx, pair.A)
	if err := b.vms[pair.A].Checkpoints(ctx, 3); err != nil {
		t.Fatal(err)
	}
	shell(t, b.vms[pair.A], "dd if=/dev/urandom of=/run/dirty bs=1M count=8")
	if err := b.net.Cut(); err != nil {
		t.Fatal(err)
	}
	for _, m := range b.vms {
		if err := m.Failover(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.AwaitRunning(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.TakeOver(ctx); err != nil {
			t.Fatal(err)
		}
		shell(t, m, "uname -r")
	}
}

func shell(t *testing.T, vm *pair.Machine, script string) {
	t.Helper()
	if out, err := vm.Run("set -e\n" + script); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

func logPauses(t *testing.T, name string, vm *pair.Machine, from, to time.Time) {
	t.Helper()
	pauses, err := vm.Pauses(from, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		what string
		all  []time.Duration
	}{{"STOP to RESUME", pauses.Events}, {"whole", pauses.Whole}} {
		t.Logf("%s: %d pauses, %s: median %v, longest %v", name, len(p.all), p.what,
			pair.Quantile(p.all, 0.5), pair.Quantile(p.all, 1))
	}
}
