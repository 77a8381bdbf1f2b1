//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// mirrorPort is where a side's belay awaits its primary.
const mirrorPort = 7000

// sides are a pair as its users have it: on each side a belay and a QEMU.
type sides struct {
	t       *testing.T
	net     *pair.Net
	disks   int
	packed  bool
	dirs    [2]string // of the volumes
	servers [2]*daemon.Daemon
	vms     [2]*pair.Machine
	extra   []string    // flags of both belays
	own     [2][]string // and of one
	args    []string    // arguments of both QEMUs
	queues  int         // of each disk; as many CPUs
	doors   [2]*door    // to the witness, if there is one
}

func newSides(t *testing.T, disks int) *sides {
	t.Helper()
	return newSidesIn(t, disks, [2]string{})
}

// newSidesIn has the volumes of a side in a directory of the caller's, if it gives one.
func newSidesIn(t *testing.T, disks int, dirs [2]string) *sides {
	t.Helper()
	net, err := pair.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	p := &sides{t: t, net: net, disks: disks, dirs: dirs, queues: 1, extra: []string{"--manual", "--plaintext",
		"--peer-timeout", "3s"}} // the machine may be busy with other tests
	t.Cleanup(p.end)
	for _, id := range []pair.ID{pair.A, pair.B} {
		if p.dirs[id] == "" {
			p.dirs[id] = net.Side(id).Dir
		}
		for i := range disks {
			cli(t, "create", p.volume(id, i), "--size", "256M")
		}
	}
	return p
}

func (p *sides) end() {
	for id := range p.vms {
		if p.vms[id] != nil {
			p.vms[id].Kill()
		}
		if s := p.servers[id]; s != nil {
			s.Kill()
			p.t.Logf("belay %v:\n%s", pair.ID(id), s.Log())
		}
	}
	p.net.Close()
}

func (p *sides) volume(id pair.ID, disk int) string {
	return filepath.Join(p.dirs[id], "vol"+strconv.Itoa(disk))
}

func (p *sides) socket(id pair.ID, disk int) string {
	return p.net.Side(id).Path("disk" + strconv.Itoa(disk))
}

// serve starts a belay in a role.
func (p *sides) serve(id pair.ID, args ...string) {
	p.t.Helper()
	side := p.net.Side(id)
	words := side.Inside(binary(), "pair")
	words = append(words, args[0], p.volume(id, 0), "--socket-path", p.socket(id, 0),
		"--qmp", side.Sockets().String(), "--num-queues", strconv.Itoa(p.queues), "--log-level", logLevel())
	for i := 1; i < p.disks; i++ {
		words = append(words, "--disk", p.volume(id, i)+"="+p.socket(id, i))
	}
	words = append(append(append(words, args[1:]...), p.extra...), p.own[id]...)
	server, err := daemon.Start(daemon.Command{Args: words})
	if err != nil {
		p.t.Fatal(err)
	}
	p.servers[id] = server
}

func logLevel() string {
	if level := os.Getenv("BELAY_E2E_LOG"); level != "" {
		return level
	}
	return "info"
}

func (p *sides) address(id pair.ID) string {
	return fmt.Sprintf("%s:%d", p.net.Side(id).Addr, mirrorPort)
}

func (p *sides) primary(id pair.ID) {
	p.t.Helper()
	p.serve(id, "primary", "--peer", p.address(id.Other()), "--migrate-uri",
		p.net.Side(id.Other()).URI(coloPort), "--checkpoint-delay", "500ms")
}

func (p *sides) secondary(id pair.ID) {
	p.t.Helper()
	p.serve(id, "secondary", "--listen", p.address(id))
}

func (p *sides) boot(ctx context.Context, id pair.ID, incoming string) *pair.Machine {
	p.t.Helper()
	conf := guest.Config{CPUs: p.queues, Incoming: incoming, Args: p.args}
	for i := range p.disks {
		conf.Disks = append(conf.Disks, guest.Disk{Socket: p.socket(id, i), Queues: p.queues, Packed: p.packed})
	}
	if os.Getenv("BELAY_E2E_CONSOLE") != "" {
		conf.Console = os.Stderr
	}
	vm, err := p.net.Side(id).Boot(ctx, conf)
	if err != nil {
		p.t.Fatal(err)
	}
	p.vms[id] = vm
	return vm
}

// pairStatus is what the tests look at.
type pairStatus struct {
	Pair struct {
		Role, State string
		Epoch       int64
		Pause       json.RawMessage `json:"last_pause"`
		Sent        struct {
			Carried uint64 `json:"carried_bytes"`
			Read    uint64 `json:"read_bytes"`
		}
	}
}

func (p *sides) status(id pair.ID) (s pairStatus) {
	text, err := tryCLI("status", p.volume(id, 0), "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	if err != nil {
		s.Pair.State = err.Error()
	}
	return s
}

// await waits until a side is in a state.
func (p *sides) await(ctx context.Context, id pair.ID, state string) {
	p.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s := p.status(id)
		if s.Pair.State == state {
			p.t.Logf("%v is %s: epoch %d, pause %s", id, state, s.Pair.Epoch, s.Pair.Pause)
			return
		}
		select {
		case <-tick.C:
		case <-p.servers[id].Exited():
			p.t.Fatalf("belay %v ended: %s", id, p.servers[id].Log())
		case <-ctx.Done():
			p.t.Fatalf("%v is %q, not %q", id, s.Pair.State, state)
		}
	}
}

// takeOver is the operator's word that the other side is dead, as soon as it is taken.
func (p *sides) takeOver(ctx context.Context, id pair.ID) {
	p.t.Helper()
	for p.status(id).Pair.State != "alone" && ctx.Err() == nil {
		if _, err := tryCLI("failover", p.volume(id, 0)); err == nil {
			break
		}
	}
	p.await(ctx, id, "alone")
}

// must is for errors of steps that have to succeed.
func (p *sides) must(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// follow has a guest with a ledger on A, protected by B.
func (p *sides) follow(ctx context.Context) {
	p.t.Helper()
	p.secondary(pair.B)
	p.boot(ctx, pair.B, p.net.Side(pair.B).URI(coloPort))
	p.primary(pair.A)
	a := p.boot(ctx, pair.A, "")
	p.ledger(pair.A)
	p.await(ctx, pair.A, "protected")
	p.must("checkpoints", a.Checkpoints(ctx, 10))
	p.await(ctx, pair.A, "protected")
	p.await(ctx, pair.B, "protected")
}

// ledger has a side's guest make a file system, and compare its memory with it from now on.
func (p *sides) ledger(id pair.ID) {
	p.t.Helper()
	vm := p.vms[id]
	shell(p.t, vm, "mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && mkdir /mnt/ledger")
	p.must("ledger", vm.StartLedger("/mnt/ledger", 20*time.Millisecond))
}

// protect gives a side that is alone the other one, whose belay waits for that, with a fresh QEMU.
func (p *sides) protect(ctx context.Context, id pair.ID) {
	p.t.Helper()
	by := id.Other()
	p.boot(ctx, by, p.net.Side(by).URI(coloPort))
	cli(p.t, "reprotect", p.volume(id, 0), "--peer", p.address(by),
		"--migrate-uri", p.net.Side(by).URI(coloPort))
	p.await(ctx, id, "protected")
	p.await(ctx, by, "protected")
}

// reprotect is the same with a side on which nothing runs any more.
func (p *sides) reprotect(ctx context.Context, id pair.ID) {
	p.t.Helper()
	p.secondary(id.Other())
	p.protect(ctx, id)
}

// goesOn shows that the guest lives on a side, and that its memory and its disk agree.
func (p *sides) goesOn(ctx context.Context, id pair.ID) {
	p.t.Helper()
	vm := p.vms[id]
	p.must("running", vm.AwaitRunning(ctx))
	p.must("ledger", vm.AwaitRounds(ctx, 20))
}

// sound pulls the plug of the guest and looks at its file system as it is then: the journal has to be
// enough to repair it.
func (p *sides) sound(id pair.ID) {
	p.t.Helper()
	p.must("ledger", p.vms[id].Healthy())
	p.vms[id].Kill()
	p.servers[id].Kill()
	p.repairable(id)
}

// repairable looks at the file system of a side on which nothing runs.
func (p *sides) repairable(id pair.ID) {
	p.t.Helper()
	image := filepath.Join(p.net.Side(id).Dir, "image")
	cli(p.t, "export", p.volume(id, 0), image)
	defer os.Remove(image)
	const repaired = 1
	journal := exec.Command("e2fsck", "-p", "-E", "journal_only", image)
	if out, err := journal.CombinedOutput(); err != nil && journal.ProcessState.ExitCode() != repaired {
		p.t.Fatalf("the journal: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		p.t.Fatalf("the file system: %v\n%s", err, out)
	}
}

// TestColoSides has a guest on a pair: checkpoints under load, then its primary is killed, QEMU and
// belay both, in either order, and it goes on at the secondary.
func TestColoSides(t *testing.T) {
	for _, first := range []string{"belay", "qemu"} {
		t.Run(first, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			s := newSides(t, 1)
			s.follow(ctx)
			killed := time.Now()
			if first == "belay" {
				s.servers[pair.A].Kill()
			}
			s.vms[pair.A].Kill()
			s.servers[pair.A].Kill()
			s.takeOver(ctx, pair.B)
			t.Logf("failover: %v", time.Since(killed))
			s.goesOn(ctx, pair.B)
			s.sound(pair.B)
		})
	}
}

// TestColoAround fails over three times, with a protection anew by the side that died before each.
func TestColoAround(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.follow(ctx)
	for from, round := pair.A, 0; round < 3; from, round = from.Other(), round+1 {
		to := from.Other()
		s.vms[from].Kill()
		s.servers[from].Kill()
		s.takeOver(ctx, to)
		s.goesOn(ctx, to)
		s.reprotect(ctx, to)
		s.must("checkpoints", s.vms[to].Checkpoints(ctx, 6))
		s.await(ctx, to, "protected")
		s.must("healthy", s.vms[to].Healthy())
	}
}

// TestColoSecondaryDies has the primary go on alone, and be protected by the same side again.
func TestColoSecondaryDies(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := newSides(t, 1)
	s.follow(ctx)
	s.servers[pair.B].Kill()
	s.vms[pair.B].Kill()
	s.await(ctx, pair.A, "alone")
	s.goesOn(ctx, pair.A)
	s.reprotect(ctx, pair.A)
	s.must("checkpoints", s.vms[pair.A].Checkpoints(ctx, 4))
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))
	s.goesOn(ctx, pair.A)
}

// TestColoTwoDisks has a guest whose one file system spans what two disks hold: a ledger on each.
func TestColoTwoDisks(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newSides(t, 2)
	s.follow(ctx)
	a := s.vms[pair.A]
	shell(t, a, "mkfs.ext4 -q /dev/vdb && mkdir -p /run/b && mount -t ext4 /dev/vdb /run/b")
	shell(t, a, "mkdir /run/b/ledger")
	s.must("ledger", a.StartLedger("/run/b/ledger", 20*time.Millisecond))
	s.must("checkpoints", a.Checkpoints(ctx, 10))
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))
	s.servers[pair.A].Kill()
	a.Kill()
	s.takeOver(ctx, pair.B)
	s.goesOn(ctx, pair.B)
	s.must("healthy", s.vms[pair.B].Healthy())
}
