// Command demo shows what belay does to a person at a terminal: a guest writes, a checkpoint
// is taken under it, the guest ruins its files, is switched off, rolled back and booted
// again. Everything shown is done at that moment with the real program; `make demo` builds
// it and runs this.
//
//	demo [--belay bin/belay]
//
// With --pair it shows a mirrored pair instead: two hosts, which are network namespaces, a guest
// that both run, and kill -9 of the one that the world sees. That takes root rights; `make
// demo-colo` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
)

func main() {
	belay := flag.String("belay", "bin/belay", "the program to show")
	pair := flag.Bool("pair", false, "show a mirrored pair")
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	play := show
	if *pair {
		play = showPair
	}
	if err := play(*belay); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func show(belay string) error {
	dir, err := os.MkdirTemp("", "belay-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{
		screen: newScreen(os.Stdout), belay: belay, begun: time.Now(),
		volume: filepath.Join(dir, "web"), socket: filepath.Join(dir, "web.sock"),
	}
	defer d.end()
	for _, step := range []func() error{d.create, d.write, d.checkpoint, d.ruin, d.rollback, d.again} {
		if err := step(); err != nil {
			return err
		}
	}
	d.text("", "That was %.0f seconds with two boots of a guest under %s.", time.Since(d.begun).Seconds(),
		d.accel)
	return nil
}

// demo is the state that the steps hand on.
type demo struct {
	*screen
	belay, volume, socket string
	begun                 time.Time
	accel                 string
	server                *daemon.Daemon
	vm                    *guest.VM
}

func (d *demo) end() {
	if d.vm != nil {
		d.vm.Kill()
	}
	if d.server != nil {
		d.server.Kill()
	}
}

func (d *demo) create() error {
	d.heading("A fresh volume, served to a virtual machine")
	if err := d.verb("create", d.volume, "--size", "2G"); err != nil {
		return err
	}
	d.command("belay serve web --socket-path web.sock --num-queues 2 &")
	server, err := daemon.Start(daemon.Command{Args: []string{
		d.belay, "serve", d.volume, "--socket-path", d.socket, "--num-queues", "2"}})
	if err != nil {
		return err
	}
	d.server = server
	return d.boot()
}

func (d *demo) boot() error {
	d.command("qemu-system-x86_64 ... -device vhost-user-blk-pci,num-queues=2")
	begun := time.Now()
	vm, err := guest.Boot(context.Background(), guest.Config{
		Disks: []guest.Disk{{Socket: d.socket, Queues: 2}}})
	if err != nil {
		return err
	}
	d.vm, d.accel = vm, vm.Accel()
	d.text("  ", "Linux is up after %.1f s; the volume is its /dev/vda.", time.Since(begun).Seconds())
	return nil
}

func (d *demo) write() error {
	d.heading("The guest makes a file system and writes")
	return d.inGuest(
		"mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && cd /mnt",
		"for n in 1 2 3 4; do head -c ${n}00000 /dev/urandom >photo$n; done",
		"sha256sum photo* >sums; sync; sha256sum -c sums",
	)
}

func (d *demo) checkpoint() error {
	d.heading("A checkpoint, while it runs")
	begun := time.Now()
	if err := d.verb("checkpoint", d.volume, "--name", "good"); err != nil {
		return err
	}
	d.text("  ", "That took %.0f ms; the guest was not stopped.", time.Since(begun).Seconds()*1000)
	return nil
}

func (d *demo) ruin() error {
	d.heading("The guest goes on, and ruins everything")
	return d.inGuest(
		"rm photo1 photo2; echo encrypted >photo3; head -c 20000000 /dev/urandom >ransom-note; sync",
		"ls -s; sha256sum -c sums 2>&1 | grep -c FAILED",
	)
}

func (d *demo) rollback() error {
	d.heading("Power off, roll back")
	d.command("(guest) poweroff")
	err := d.vm.PowerOff()
	d.vm = nil
	if err != nil {
		return err
	}
	return d.verb("rollback", d.volume, "--to", "good")
}

func (d *demo) again() error {
	d.heading("Boot again: the files of the checkpoint are there, the later ones are not")
	if err := d.boot(); err != nil {
		return err
	}
	err := d.inGuest("e2fsck -p /dev/vda; mount /dev/vda /mnt && cd /mnt", "ls -s; sha256sum -c sums")
	if err != nil {
		return err
	}
	err = d.vm.PowerOff()
	d.vm = nil
	if err != nil {
		return err
	}
	d.heading("Nothing is lost: the ruined state is a branch, and `belay rollback --undo` returns to it")
	return d.verb("checkpoints", d.volume)
}

// verb runs belay and shows command and output, without the demonstration's own directory.
func (d *demo) verb(args ...string) error {
	short := strings.ReplaceAll(strings.Join(args, " "), d.volume, filepath.Base(d.volume))
	d.command("belay " + short)
	out, err := exec.Command(d.belay, args...).CombinedOutput()
	d.output(strings.ReplaceAll(string(out), d.volume, filepath.Base(d.volume)))
	if err != nil {
		return fmt.Errorf("belay %s: %w", short, err)
	}
	return nil
}

// inGuest runs scripts one after the other; the directory carries over as in one shell.
func (d *demo) inGuest(scripts ...string) error {
	for _, script := range scripts {
		d.command("(guest) " + script)
		out, err := d.vm.Run("cd /mnt; " + script)
		if err != nil {
			return err
		}
		d.output(out)
	}
	return nil
}
