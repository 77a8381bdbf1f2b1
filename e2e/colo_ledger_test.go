//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// These tests are of the harness alone: that what has to agree does, and that what does not is
// noticed.

// TestColoLedgerFinds takes a guest over at a disk that nobody kept equal. The ledger has to
// say so: otherwise it proves nothing elsewhere.
func TestColoLedgerFinds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b := newBare(ctx, t)
	p, s := b.vms[pair.A], b.vms[pair.B]
	shell(t, p, "mount /dev/vda /mnt")
	if err := p.StartLedger("/mnt/ledger", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitRounds(ctx, 10); err != nil {
		t.Fatal(err)
	}
	b.startCOLO(ctx, pair.A)
	if err := p.Checkpoints(ctx, 5); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := s.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitRounds(ctx, 50); !errors.Is(err, pair.ErrDisagree) {
		t.Errorf("got %v, want %v", err, pair.ErrDisagree)
	}
}

// TestColoLedgerAgrees has QEMU itself carry the disk, under load, and lets the primary die.
func TestColoLedgerAgrees(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	net, err := pair.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	const bytes = 256 << 20
	p := bootReplica(ctx, t, net.Side(pair.A), bytes, "")
	defer p.Kill()
	shell(t, p, "mkfs.ext4 -q -E nodiscard /dev/vda; sync")
	uri := net.Side(pair.B).URI(coloPort)
	// Equal images: the primary's has a file system by now.
	if out, err := exec.Command("cp", net.Side(pair.A).Path("image"), net.Side(pair.B).Path("image")).
		CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := bootReplica(ctx, t, net.Side(pair.B), bytes, uri)
	defer s.Kill()
	if err := p.Replicate(ctx, s, coloPort+1); err != nil {
		t.Fatal(err)
	}
	if err := p.StartCOLO(ctx, s, uri, 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	// What is written before COLO has begun is not carried: QEMU leaves that to others.
	if err := p.Checkpoints(ctx, 1); err != nil {
		t.Fatal(err)
	}
	shell(t, p, "mount /dev/vda /mnt")
	if err := p.StartLedger("/mnt/ledger", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoints(ctx, 20); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := s.FailoverReplica(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.TakeOver(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitRounds(ctx, 50); err != nil {
		t.Fatal(err)
	}
	if err := s.StopLedger(ctx); err != nil {
		t.Fatal(err)
	}
	shell(t, s, "umount /mnt; e2fsck -fn /dev/vda")
}

func bootReplica(ctx context.Context, t *testing.T, side *pair.Side, bytes int64,
	incoming string) *pair.Machine {
	t.Helper()
	image := side.Path("image")
	args := pair.ReplicaPrimary(image)
	var err error
	if incoming != "" {
		if args, err = side.ReplicaSecondary(ctx, image, bytes); err != nil {
			t.Fatal(err)
		}
	} else if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	} else if err := os.Truncate(image, bytes); err != nil {
		t.Fatal(err)
	}
	conf := guest.Config{CPUs: 1, Incoming: incoming, Args: args}
	if os.Getenv("BELAY_E2E_CONSOLE") != "" {
		conf.Console = os.Stderr
	}
	vm, err := side.Boot(ctx, conf)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
