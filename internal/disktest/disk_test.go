package disktest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t *testing.T, d *Disk, name string, content []byte) *File {
	t.Helper()
	f, err := d.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 0 {
		write(t, f, 0, content)
	}
	return f
}

func write(t *testing.T, f *File, off int64, p []byte) {
	t.Helper()
	if n, err := f.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(p), err)
	}
}

// durable returns a disk with one durable file.
func durable(t *testing.T, seed uint64, content []byte) (*Disk, *File) {
	t.Helper()
	d := New(seed)
	t.Cleanup(d.Close)
	f := create(t, d, "a", content)
	if err := errors.Join(f.Sync(), d.SyncDir()); err != nil {
		t.Fatal(err)
	}
	return d, f
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func TestReadsWhatWasWritten(t *testing.T) {
	d, f := durable(t, 1, fill(10000, 1))
	write(t, f, 5000, fill(100, 2))
	want := fill(10000, 1)
	copy(want[5000:], fill(100, 2))
	if got := d.Content("a"); !bytes.Equal(got, want) {
		t.Fatal("content differs")
	}
	p := make([]byte, 200)
	if n, err := f.ReadAt(p, 9900); n != 100 || err != io.EOF {
		t.Fatalf("read at the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(p, 20000); n != 0 || err != io.EOF {
		t.Fatalf("read behind the end: %d, %v", n, err)
	}
}

func TestOpenModes(t *testing.T) {
	d, _ := durable(t, 1, fill(4096, 1))
	if _, err := d.Create("a"); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if _, err := d.Open("b", false, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	ro, _ := d.Open("a", true, false)
	if _, err := ro.WriteAt([]byte{1}, 0); !errors.Is(err, unix.EBADF) {
		t.Fatal(err)
	}
	direct, _ := d.Open("a", false, true)
	p := alignedBuffer(1024)
	if _, err := direct.WriteAt(p[:512], 512); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []error{
		second(direct.WriteAt(p[:100], 0)),
		second(direct.WriteAt(p[:512], 100)),
		second(direct.ReadAt(p[8:520], 0)),
	} {
		if !errors.Is(bad, unix.EINVAL) {
			t.Fatalf("misaligned: %v", bad)
		}
	}
}

func second(_ int, err error) error { return err }

func TestLock(t *testing.T) {
	d, f := durable(t, 1, nil)
	g, _ := d.Open("a", false, false)
	if err := f.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := g.Lock(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatal(err)
	}
	kill, err := d.Cut(Kill).Open("a", false, false)
	if err != nil || kill.Lock() != nil {
		t.Fatal("the lock outlived its process")
	}
	f.Close()
	if err := g.Lock(); err != nil {
		t.Fatal(err)
	}
}

func TestCapacity(t *testing.T) {
	d := New(1)
	d.SetCapacity(4 * pageSize)
	f := create(t, d, "a", fill(3*pageSize, 1))
	if _, err := f.WriteAt(fill(2*pageSize, 2), 3*pageSize); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Allocate(0, 5*pageSize); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Allocate(0, 4*pageSize); err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, fill(4*pageSize, 3))
	if err := f.Punch(100, 2*pageSize); err != nil || d.Used() != 3*pageSize {
		t.Fatalf("%v, %d bytes used", err, d.Used())
	}
	if got := d.Content("a"); got[99] != 3 || got[100] != 0 || got[100+2*pageSize] != 3 {
		t.Fatal("punched another range")
	}
	if err := f.Truncate(10); err != nil || d.Used() != pageSize {
		t.Fatalf("%v, %d bytes used", err, d.Used())
	}
}

func TestDevice(t *testing.T) {
	d := New(1)
	d.AddDevice("/dev/x", 8192)
	f, err := d.Open("/dev/x", false, false)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, 4096, fill(4096, 1))
	if _, err := f.WriteAt([]byte{1}, 8192); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Allocate(0, 8193); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if ok, _ := d.Cut(PowerCut).Exists("/dev/x"); !ok {
		t.Fatal("the device is gone")
	}
}

func TestFailures(t *testing.T) {
	d, f := durable(t, 1, fill(4096, 1))
	n := d.Ops()
	for i, op := range []func() error{
		func() error { return second(f.WriteAt([]byte{1}, 0)) },
		f.Sync,
		func() error { return f.Truncate(1) },
		func() error { return f.Allocate(0, 1) },
		func() error { return f.Punch(0, 1) },
		func() error { return d.Remove("a") },
		d.SyncDir,
		func() error { _, err := d.Create("b"); return err },
	} {
		d.FailAt(n+i+1, unix.EIO)
		if err := op(); !errors.Is(err, unix.EIO) {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	if d.Ops() != n+8 {
		t.Fatalf("%d operations counted", d.Ops()-n)
	}
	d.FailReadAt(d.Reads()+1, unix.EIO)
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
}

func TestHookSeesEveryOperation(t *testing.T) {
	d := New(1)
	var seen []int
	d.Hook(func(op int) {
		seen = append(seen, op)
		d.Cut(Kill)
	})
	f := create(t, d, "a", []byte{1})
	f.Sync()
	f.ReadAt(make([]byte, 1), 0)
	f.Size()
	d.SyncDir()
	if len(seen) != 4 || seen[3] != 4 {
		t.Fatal(seen)
	}
}

func TestDamageIsDurable(t *testing.T) {
	d, f := durable(t, 1, fill(8192, 1))
	mem, err := f.Map(8192)
	if err != nil {
		t.Fatal(err)
	}
	d.Damage("a", func(p []byte) { p[5000] ^= 0xff })
	if mem[5000] != 0xfe || d.Cut(PowerCut).Content("a")[5000] != 0xfe {
		t.Fatal("undamaged")
	}
}

func TestSameSeedSameDisk(t *testing.T) {
	run := func() []byte {
		d, f := durable(t, 7, fill(65536, 1))
		for i := range 50 {
			write(t, f, int64(i*777), fill(1500, byte(i)))
		}
		return d.Cut(PowerCut).Content("a")
	}
	if !bytes.Equal(run(), run()) {
		t.Fatal("a seed does not decide everything")
	}
}
