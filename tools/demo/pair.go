package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/belay-vm/belay/tools/guest"
	"github.com/belay-vm/belay/tools/pair"
)

// errInterrupted is for whoever pressed Ctrl-C.
var errInterrupted = errors.New("interrupted; everything was removed")

// patience is for each step of the play: a guest's memory takes some seconds without KVM.
const patience = 90 * time.Second

// showPair shows a guest that outlives its host, twice.
func showPair(belay string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "belay-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// All that the hosts and their guests make goes below, so that one removal takes it.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return err
	}
	net, err := pair.NewNet()
	if err != nil {
		return err
	}
	p := &pairDemo{screen: newScreen(os.Stdout), net: net}
	for id := range p.hosts {
		p.hosts[id] = newHost(belay, net.Side(pair.ID(id)))
	}
	defer p.end()
	begun := time.Now()
	for _, step := range []func(context.Context) error{
		p.prepare, p.write, p.protect, p.kill, p.failover, p.reprotect, p.back,
	} {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := step(limited)
		cancel()
		if err != nil {
			return p.explain(ctx, err)
		}
	}
	p.text("", "That was %.0f seconds, two hosts lost, and one boot of a guest under %s.",
		time.Since(begun).Seconds(), p.vm(pair.A).Accel())
	return nil
}

// pairDemo is the state that the steps hand on.
type pairDemo struct {
	*screen
	net   *pair.Net
	hosts [2]*host
}

func (p *pairDemo) vm(id pair.ID) *pair.Machine { return p.hosts[id].vm }

func (p *pairDemo) end() {
	for _, h := range p.hosts {
		h.kill()
	}
	p.net.Close()
}

// explain adds what the servers said last, unless it was the spectator who ended it.
func (p *pairDemo) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	for _, h := range p.hosts {
		if h.server != nil {
			err = fmt.Errorf("%w\nbelay on host %v said:\n%s", err, h.side.ID, h.server.Log())
		}
	}
	return err
}

func (p *pairDemo) prepare(ctx context.Context) error {
	p.heading("Two hosts, a and b: network namespaces with a link between them, and a volume on each")
	for _, h := range p.hosts {
		if err := p.verb(ctx, h, "create", volumeName, "--size", "256M"); err != nil {
			return err
		}
	}
	p.heading("b is to follow: belay waits for a primary, QEMU for a guest")
	if err := p.follow(ctx, p.hosts[pair.B]); err != nil {
		return err
	}
	p.heading("a runs the guest")
	a := p.hosts[pair.A]
	if err := p.serve(a, a.primary(p.hosts[pair.B])...); err != nil {
		return err
	}
	begun := time.Now()
	if err := p.boot(ctx, a, ""); err != nil {
		return err
	}
	p.text("  ", "Linux is up after %.1f s; the volume is its /dev/vda.", time.Since(begun).Seconds())
	return nil
}

func (p *pairDemo) write(ctx context.Context) error {
	p.heading("The guest writes; a program in it compares its memory with its files, 50 times a second")
	err := p.inGuest(ctx, pair.A,
		"mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && mkdir /mnt/ledger",
		"cd /mnt; for n in 1 2 3 4; do head -c ${n}00000 /dev/urandom >photo$n; done; "+
			"sha256sum photo* >sums; sync; ls -s photo*",
		"cat /proc/sys/kernel/random/boot_id",
	)
	if err != nil {
		return err
	}
	p.command("(guest) ledger --dir /mnt/ledger --every 20ms &")
	if err := p.vm(pair.A).StartLedger("/mnt/ledger", 20*time.Millisecond); err != nil {
		return err
	}
	return p.vm(pair.A).AwaitRounds(ctx, 20)
}

func (p *pairDemo) protect(ctx context.Context) error {
	p.heading("Meanwhile belay copies the disk to b and starts COLO: disk and memory follow, twice a second")
	a := p.hosts[pair.A]
	begun := time.Now()
	if err := p.protected(ctx, a); err != nil {
		return err
	}
	p.text("  ", "That took %.1f s more. Then ten checkpoints under the guest's load:",
		time.Since(begun).Seconds())
	if err := a.vm.Checkpoints(ctx, 10); err != nil {
		return err
	}
	if err := p.status(ctx, a); err != nil {
		return err
	}
	return p.verb(ctx, a, "verify-pair", volumeName)
}

func (p *pairDemo) kill(ctx context.Context) error {
	p.heading("Host a dies: kill -9 of its QEMU and its belay")
	a := p.hosts[pair.A]
	p.command(fmt.Sprintf("(a) kill -9 %d %d", a.server.PID(), a.vm.PID()))
	a.kill()
	p.text("  ", "Neither could say a word. b has the guest as of their last common checkpoint, and waits:")
	p.text("  ", "from b a dead host and a broken cable look alike, so with --manual the operator decides.")
	return nil
}

func (p *pairDemo) failover(ctx context.Context) error {
	p.heading("The operator knows that a is dead, and has b take over")
	return p.takeOver(ctx, p.hosts[pair.B])
}

// takeOver has a host go on, and asks its guest.
func (p *pairDemo) takeOver(ctx context.Context, h *host) error {
	begun := time.Now()
	if err := p.verb(ctx, h, "failover", volumeName); err != nil {
		return err
	}
	err := errors.Join(h.await(ctx, "alone"), h.vm.AwaitRunning(ctx))
	if err != nil {
		return err
	}
	p.text("  ", "The guest runs on %v %.1f s later (%v had promised %v to wait that long).",
		h.side.ID, time.Since(begun).Seconds(), h.side.ID, h.side.ID.Other())
	if err := errors.Join(h.vm.AwaitRounds(ctx, 20), h.vm.TakeOver(ctx)); err != nil {
		return err
	}
	p.text("  ", "20 rounds more of its ledger: memory and disk agree. The same boot, the same files:")
	return p.inGuest(ctx, h.side.ID, "cat /proc/sys/kernel/random/boot_id; uptime",
		"cd /mnt; echo 3 >/proc/sys/vm/drop_caches; sha256sum -c sums")
}

func (p *pairDemo) reprotect(ctx context.Context) error {
	p.heading("Host a comes back, as the one that follows; what it lacks is what changed since")
	a, b := p.hosts[pair.A], p.hosts[pair.B]
	if err := p.follow(ctx, a); err != nil {
		return err
	}
	err := p.verb(ctx, b, append([]string{"reprotect", volumeName}, b.partner(a)...)...)
	if err != nil {
		return err
	}
	if err := p.protected(ctx, b); err != nil {
		return err
	}
	if err := b.vm.Checkpoints(ctx, 1); err != nil {
		return err
	}
	return p.status(ctx, b)
}

func (p *pairDemo) back(ctx context.Context) error {
	p.heading("Then b dies, and the guest is back where it began")
	b := p.hosts[pair.B]
	p.command(fmt.Sprintf("(b) kill -9 %d %d", b.server.PID(), b.vm.PID()))
	b.kill()
	if err := p.takeOver(ctx, p.hosts[pair.A]); err != nil {
		return err
	}
	p.heading("The guest's own verdict")
	if err := p.vm(pair.A).StopLedger(ctx); err != nil {
		return err
	}
	return p.inGuest(ctx, pair.A, "cd /; umount /mnt && e2fsck -fn /dev/vda")
}

// follow starts a host's belay and QEMU as a secondary's.
func (p *pairDemo) follow(ctx context.Context, h *host) error {
	if err := p.serve(h, h.secondary()...); err != nil {
		return err
	}
	return p.boot(ctx, h, h.uri())
}

// protected waits until a primary has a secondary to rely on.
func (p *pairDemo) protected(ctx context.Context, h *host) error {
	p.text("  ", "... until `belay status` says that it is protected")
	return h.await(ctx, "protected")
}

func (p *pairDemo) serve(h *host, words ...string) error {
	p.command(fmt.Sprintf("(%v) belay %s &", h.side.ID, h.shorten(words...)))
	return h.serve(words)
}

func (p *pairDemo) boot(ctx context.Context, h *host, incoming string) error {
	text := "qemu-system-x86_64 -M pc,memory-backend=mem -qmp ... -device vhost-user-blk-pci,..."
	if incoming != "" {
		text += " -S -incoming " + incoming
	}
	p.command(fmt.Sprintf("(%v) %s", h.side.ID, text))
	vm, err := h.side.Boot(ctx, guest.Config{CPUs: 1, Incoming: incoming,
		Disks: []guest.Disk{{Socket: h.socket(), Queues: 1}}})
	h.vm = vm
	return err
}

// status shows what belay's status says of the pair, and the last pause.
func (p *pairDemo) status(ctx context.Context, h *host) error {
	p.command(fmt.Sprintf("(%v) belay status %s | grep pair", h.side.ID, volumeName))
	words := h.belay("status", volumeName)
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "pair") {
			p.output(line)
		}
	}
	s, err := h.status(ctx)
	p.text("  ", "The last pause: %s.", s.Pause)
	return err
}

// verb runs belay on a host and shows command and output.
func (p *pairDemo) verb(ctx context.Context, h *host, words ...string) error {
	p.command(fmt.Sprintf("(%v) belay %s", h.side.ID, h.shorten(words...)))
	words = h.belay(words...)
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	p.output(h.shorten(string(out)))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(words[0]), err)
	}
	return nil
}

func (p *pairDemo) inGuest(ctx context.Context, id pair.ID, scripts ...string) error {
	for _, script := range scripts {
		p.command("(guest) " + script)
		out, err := p.vm(id).RunContext(ctx, script)
		p.output(out)
		if err != nil {
			return err
		}
	}
	return nil
}
