//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
)

// world is a volume, its server and a guest on it.
type world struct {
	t      *testing.T // the test or subtest that acts now
	b      backend
	volume string
	socket string
	disk   guest.Disk
	flags  []string // more of them for the server
	server *daemon.Daemon
	vm     *guest.VM
}

// newWorld creates a volume and serves it. There is no guest yet.
func newWorld(t *testing.T, size string, disk guest.Disk) *world {
	t.Helper()
	w := emptyWorld(t, disk)
	w.b.create(t, w.volume, size)
	w.serve()
	return w
}

// emptyWorld has a place for a volume. The volume's name is nobody else's on this machine.
func emptyWorld(t *testing.T, disk guest.Disk) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, b: underTest(), volume: filepath.Join(dir, "vol"+filepath.Base(dir)[len("e2e"):]),
		socket: filepath.Join(dir, "sock"), disk: disk}
	w.disk.Socket = w.socket
	t.Cleanup(func() {
		w.end()
		os.RemoveAll(dir)
		os.RemoveAll(w.pins()) // of the server, which was killed
	})
	return w
}

// end leaves nothing running; what the server said is shown if the test failed.
func (w *world) end() {
	if w.vm != nil {
		w.vm.Kill()
	}
	if w.server != nil {
		w.server.Kill()
		if w.t.Failed() {
			w.t.Logf("the server's log:\n%s", w.server.Log())
		}
	}
}

func (w *world) serve() {
	w.t.Helper()
	command := w.b.serve(w.volume, w.socket, max(w.disk.Queues, 1))
	command.Args = append(command.Args, w.flags...)
	server, err := daemon.Start(command)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = server
}

// stop ends the server as systemd does.
func (w *world) stop() {
	w.t.Helper()
	if err := w.server.Stop(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) boot() {
	w.t.Helper()
	conf := guest.Config{Disks: []guest.Disk{w.disk}}
	if os.Getenv("BELAY_E2E_CONSOLE") != "" {
		conf.Console = os.Stderr
	}
	vm, err := guest.Boot(context.Background(), conf)
	if err != nil {
		w.t.Fatalf("%v\nthe server's log:\n%s", err, w.server.Log())
	}
	w.vm = vm
}

func (w *world) powerOff() {
	w.t.Helper()
	if err := w.vm.PowerOff(); err != nil {
		w.t.Fatal(err)
	}
	w.vm = nil
}

// sh runs a script in the guest, which must succeed, and returns its output, trimmed.
func (w *world) sh(format string, args ...any) string {
	w.t.Helper()
	out, err := w.vm.Run("set -e\n" + fmt.Sprintf(format, args...))
	if err != nil {
		w.t.Fatalf("%v\nthe server's log:\n%s", err, w.server.Log())
	}
	return strings.TrimSpace(out)
}

// step runs a part of a test that goes on with the same guest; the rest makes no sense once
// one part failed.
func (w *world) step(name string, f func(w *world)) {
	w.t.Helper()
	outer := w.t
	ok := outer.Run(name, func(t *testing.T) {
		w.t = t
		f(w)
	})
	if w.t = outer; !ok {
		outer.Fatalf("%s failed", name)
	}
}

// format makes a file system on the disk and mounts it.
func (w *world) format() {
	w.t.Helper()
	w.sh("mkfs.ext4 -q -E nodiscard /dev/vda; mount /dev/vda /mnt")
}

// fill writes files of many sizes under a directory, with a list of their checksums.
func (w *world) fill(dir string) {
	w.t.Helper()
	w.sh(`mkdir /mnt/%[1]s; cd /mnt/%[1]s
for i in $(seq 1 30); do head -c $((i * i * 1013 + i)) /dev/urandom >file$i; done
sha256sum file* >sums; sync`, dir)
}

// verify checks the files of fill, from the disk and not from the guest's memory.
func (w *world) verify(dir string) {
	w.t.Helper()
	w.sh("sync; echo 3 >/proc/sys/vm/drop_caches; cd /mnt/%s; sha256sum -c sums >/tmp/sums || "+
		"{ grep -v OK /tmp/sums; exit 1; }", dir)
}

// fsck checks the unmounted file system. A journal that was cut off is replayed first, as a
// mount does; after that there must be nothing to say.
func (w *world) fsck() {
	w.t.Helper()
	w.sh(`e2fsck -fp /dev/vda || [ $? = 1 ]
e2fsck -fn /dev/vda`)
}

// noErrors checks that the guest's kernel saw no failed request and no file system fault.
func (w *world) noErrors() {
	w.t.Helper()
	w.sh(`! dmesg | grep -E 'I/O error|EXT4-fs error|EXT4-fs \(vda\): (error|warning)|blk_update_request'`)
}

// fioVerify writes at random from two processes and reads everything back with checksums.
const fioVerify = "fio --name=verify --ioengine=libaio --direct=1 --iodepth=16 --numjobs=2 " +
	"--rw=randwrite --verify=crc32c --verify_fatal=1 --end_fsync=1 --output=/tmp/fio.log "

func (w *world) fio(args string) {
	w.t.Helper()
	w.sh("%s %s || { cat /tmp/fio.log; exit 1; }", fioVerify, args)
}
