//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/belay-vm/belay/tools/daemon"
)

// backend is a program that serves a volume over vhost-user-blk.
type backend interface {
	create(t *testing.T, volume, size string)
	serve(volume, socket string, queues int) daemon.Command
	resize(t *testing.T, volume, size string)
	can(what ability) bool
}

// ability is something that not every backend has.
type ability string

const (
	checkpoints ability = "take checkpoints and roll back to them"
	packedRings ability = "work on packed rings"
	recovery    ability = "recover the requests in flight when it is killed"
	resizing    ability = "tell a running guest of its disk's new size"
	tracing     ability = "let itself be traced"
)

// needs says whether the backend has an ability, and notes it if not.
func needs(t *testing.T, what ability) bool {
	t.Helper()
	if underTest().can(what) {
		return true
	}
	t.Logf("left out: this backend does not %s", what)
	return false
}

func underTest() backend {
	if os.Getenv("BELAY_E2E_BACKEND") == "qsd" {
		return storageDaemon{}
	}
	return belay{}
}

// belay is the product.
type belay struct{}

func (belay) create(t *testing.T, volume, size string) {
	t.Helper()
	cli(t, "create", volume, "--size", size)
}

func (belay) serve(volume, socket string, queues int) daemon.Command {
	return daemon.Command{Args: []string{binary(), "serve", volume, "--socket-path", socket,
		"--num-queues", strconv.Itoa(queues)}}
}

func (belay) resize(t *testing.T, volume, size string) {
	t.Helper()
	cli(t, "resize", volume, "--size", size)
}

func (belay) can(ability) bool { return true }

func binary() string {
	if path := os.Getenv("BELAY"); path != "" {
		return path
	}
	return filepath.Join("..", "bin", "belay")
}

// cli runs a verb that must succeed and returns its standard output.
func cli(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryCLI(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryCLI(args ...string) (string, error) {
	out, err := exec.Command(binary(), args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("belay %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// storageDaemon is QEMU's own backend, on a raw file.
type storageDaemon struct{}

func (storageDaemon) create(t *testing.T, volume, size string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "raw", volume, size).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
}

func (storageDaemon) serve(volume, socket string, queues int) daemon.Command {
	return daemon.Command{Socket: socket, Args: []string{"qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=f,discard=unmap,filename=" + volume,
		"--export", "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix," +
			fmt.Sprintf("addr.path=%s,num-queues=%d", socket, queues)}}
}

func (storageDaemon) resize(t *testing.T, _, _ string) {
	t.Fatal("version 7.2 announces no new size")
}

// can is what version 7.2 lacks: all of it.
func (storageDaemon) can(ability) bool { return false }

// allocated is the space in bytes that a volume, file or directory, takes on the host.
func allocated(t *testing.T, volume string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(volume, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		sum += fi.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
