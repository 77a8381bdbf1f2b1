package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDirFiles(t *testing.T) {
	dir := t.TempDir()
	d := Dir(dir)
	f, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := d.Create("a"); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if _, err := d.Open("b", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := d.Open(".", ReadOnly); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Fatal("opened a directory:", err)
	}
	if err := errors.Join(f.Allocate(0, 8192), f.Sync(), d.SyncDir()); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Size(); n != 8192 || err != nil {
		t.Fatal(n, err)
	}
	if ok, err := d.Exists("a"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := d.Exists("b"); ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := d.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if parseBootID(d.BootID()) == (bootID{}) {
		t.Fatalf("boot id %q", d.BootID())
	}
	// An absolute name is a file elsewhere.
	other := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(other, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err := d.Open(other, ReadOnly); err != nil || g.Close() != nil {
		t.Fatal(err)
	}
}

func TestFileMapAndPunch(t *testing.T) {
	f, err := Dir(t.TempDir()).Create("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, 8192), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Map(8193); !errors.Is(err, unix.EINVAL) {
		t.Fatal("mapped more than there is:", err)
	}
	mem, err := f.Map(8192)
	if err != nil {
		t.Fatal(err)
	}
	mem[100] = 7
	p := make([]byte, 4096)
	if _, err := f.ReadAt(p, 0); err != nil || p[100] != 7 {
		t.Fatal("the mapping is not shared:", err)
	}
	if err := f.Punch(4096, 4096); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Size(); n != 8192 {
		t.Fatal("punch changed the size")
	}
	if mem[4096] != 0 && mem[4096] != 1 {
		t.Fatal("punch wrote something else")
	}
	if err := errors.Join(f.Unmap(mem), f.Truncate(10)); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Size(); n != 10 {
		t.Fatal(n)
	}
}

func TestFileLockIsOfTheOpenFile(t *testing.T) {
	d := Dir(t.TempDir())
	f, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	g, err := d.Open("a", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := errors.Join(f.Lock(), f.Lock()); err != nil {
		t.Fatal(err)
	}
	if err := g.Lock(); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Lock(); err != nil {
		t.Fatal(err)
	}
}

// Direct I/O happens where the kernel says it can, and what it needs is what MemAlign says.
func TestFileDirect(t *testing.T) {
	d := Dir(t.TempDir())
	f, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	f.Allocate(0, 1<<16)
	f.Close()
	g, err := d.Open("a", Direct)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	mem, err := unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	if align := memAlign(g); align < 1 || align > blockSize {
		t.Fatal("alignment", align)
	}
	copy(mem, "whole blocks")
	if _, err := g.WriteAt(mem, blockSize); err != nil {
		t.Fatal(err)
	}
	if _, err := g.ReadAt(mem, 2*blockSize); err != nil {
		t.Fatal(err)
	}
}

// A full file system is ErrNoSpace, whichever call finds it out.
func TestFileNoSpace(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full here:", err)
	}
	o := &osFile{f: f, fd: int(f.Fd()), align: 1}
	defer o.Close()
	if _, err := o.WriteAt([]byte{1}, 0); !errors.Is(err, ErrNoSpace) || !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	g, err := Dir(t.TempDir()).Create("a")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Allocate(0, 1<<60); err == nil {
		t.Fatal("allocated an exabyte")
	}
}

func TestFileReadOnly(t *testing.T) {
	d := Dir(t.TempDir())
	f, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt(make([]byte, 4096), 0)
	f.Close()
	r, err := d.Open("a", ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte{1}, 0); err == nil {
		t.Fatal("wrote a file opened for reading")
	}
	mem, err := r.Map(4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Unmap(mem); err != nil {
		t.Fatal(err)
	}
}

// TestAlignOf: a disk with sectors of 4096 bytes, which takes buffers at nearly any address, was
// given I/O of 512 bytes and refused it.
func TestAlignOf(t *testing.T) {
	for _, c := range []struct {
		mem, off uint32
		want     int
	}{{0, 0, 1}, {4, 512, 512}, {512, 512, 512}, {4, 4096, 4096}, {4096, 512, 4096}, {512, 8192, 1}} {
		if got := alignOf(c.mem, c.off); got != c.want {
			t.Errorf("memory %d, places %d: %d, want %d", c.mem, c.off, got, c.want)
		}
	}
}
