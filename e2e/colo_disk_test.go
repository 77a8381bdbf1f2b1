//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/tools/pair"
)

// mounted makes a directory and mounts something on it, for the time of a test.
func mounted(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "m")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fullDisk is a file system with too little room for what the guest writes.
func fullDisk(t *testing.T) (dir string, fail func()) {
	return mounted(t, "-t", "tmpfs", "-o", "size=170M", "tmpfs"), func() {}
}

// failingDisk is a file system on a block device whose writes fail from a moment on: a loop device on
// memory that is sealed then.
func failingDisk(t *testing.T) (dir string, fail func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	memory, err := unix.MemfdCreate("disk", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	must(err)
	t.Cleanup(func() { unix.Close(memory) })
	must(unix.Ftruncate(memory, 1<<30))
	path := loopDevice(t, memory)
	if out, err := exec.Command("mkfs.ext4", "-q", "-E", "nodiscard", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return mounted(t, path), func() {
		_, err := unix.FcntlInt(uintptr(memory), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		must(err)
	}
}

// loopDevice makes one of a file.
func loopDevice(t *testing.T, fd int) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		loop.Close()
	})
	return path
}

// TestColoPrimaryDisk has the primary's disk fill up, or fail, under a guest that writes: the guest goes on
// at the secondary and sees no error.
func TestColoPrimaryDisk(t *testing.T) {
	for _, disk := range []struct {
		name string
		make func(t *testing.T) (dir string, fail func())
	}{{"full", fullDisk}, {"failing", failingDisk}} {
		t.Run(disk.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			dir, fail := disk.make(t)
			s := newSidesIn(t, 1, [2]string{pair.A: dir})
			s.follow(ctx)
			// More than there is room for on the full disk.
			const big = `(cd /mnt; for i in $(seq 9); do dd if=/dev/urandom of=big$i bs=1M count=16 conv=fsync ||
				break; sha256sum big$i >>/run/sums; sync; done; echo "ended: $i" >/run/result) >/run/dd 2>&1 &`
			shell(t, s.vms[pair.A], big)
			s.must("rounds", s.vms[pair.A].AwaitRounds(ctx, 5))
			fail()
			s.await(ctx, pair.B, "alone")
			select {
			case <-s.vms[pair.A].Done():
			case <-ctx.Done():
				t.Fatal("the old QEMU lives")
			}
			s.goesOn(ctx, pair.B)
			b := s.vms[pair.B]
			s.must("takes over", b.TakeOver(ctx))
			const rest = `while ! test -e /run/result; do sleep 0.2; done; cat /run/result /run/dd
				cd /mnt; echo 3 >/proc/sys/vm/drop_caches; sha256sum -c /run/sums`
			out, err := b.RunContext(ctx, rest)
			if err != nil || !strings.Contains(out, "ended: 9") || strings.Contains(out, "rror") {
				t.Errorf("the guest's program: %v\n%s", err, out)
			}
			out, err = b.RunContext(ctx, "dmesg")
			if err != nil || strings.Contains(out, "I/O error") || strings.Contains(out, "EXT4-fs error") {
				t.Errorf("the guest's kernel: %v\n%s", err, out)
			}
			s.sound(pair.B)
		})
	}
}
