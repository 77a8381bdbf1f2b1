package disktest

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func vectors(ps ...[]byte) (iov []unix.Iovec) {
	for _, p := range ps {
		iov = append(iov, unix.Iovec{Base: &p[0], Len: uint64(len(p))})
	}
	return iov
}

func TestEngineMovesVectors(t *testing.T) {
	d, f := durable(t, 1, fill(4096, 1))
	e := d.NewEngine()
	e.Writev(f.Fd(), vectors(fill(100, 2), fill(412, 3)), 512, 7)
	if d.Content("a")[512] != 1 {
		t.Fatal("moved before Step")
	}
	if tag, res, ok := e.Step(); tag != 7 || res != 512 || !ok {
		t.Fatal(tag, res, ok)
	}
	a, b := make([]byte, 512), make([]byte, 512)
	e.Readv(f.Fd(), vectors(a, b), 256, 8)
	if _, res, _ := e.Step(); res != 1024 || a[255] != 1 || a[256] != 2 || b[0] != 3 {
		t.Fatal(res, a[255], a[256], b[0])
	}
	if _, _, ok := e.Step(); ok || e.Pending() != 0 {
		t.Fatal("an operation is left")
	}
	e.Readv(f.Fd(), vectors(a), 4000, 9)
	if _, res, _ := e.Step(); res != 96 {
		t.Fatal("read at the end:", res)
	}
	e.Readv(99, vectors(a), 0, 9)
	if _, res, _ := e.Step(); res != -int32(unix.EBADF) {
		t.Fatal("closed file:", res)
	}
	d.FailAt(d.Ops()+1, unix.ENOSPC)
	e.Writev(f.Fd(), vectors(a), 0, 9)
	if _, res, _ := e.Step(); res != -int32(unix.ENOSPC) {
		t.Fatal("failing write:", res)
	}
}

func TestEngineCompletesInAnyOrder(t *testing.T) {
	d, f := durable(t, 2, fill(4096, 1))
	e := d.NewEngine()
	p := make([]byte, 512)
	for tag := range uint64(16) {
		e.Readv(f.Fd(), vectors(p), 0, tag)
	}
	var tags []uint64
	for e.Pending() > 0 {
		tag, _, _ := e.Step()
		tags = append(tags, tag)
	}
	if slices.IsSorted(tags) {
		t.Fatal("completed in order")
	}
	slices.Sort(tags)
	if tags[0] != 0 || tags[15] != 15 {
		t.Fatal(tags)
	}
}

// A sync in flight covers what was complete when it began, and of what came later all or nothing.
func TestEngineSync(t *testing.T) {
	seen := map[[2]byte]int{}
	for seed := range uint64(200) {
		d, f := durable(t, seed, fill(1024, 1))
		e := d.NewEngine()
		if _, err := f.WriteAt(fill(512, 2), 0); err != nil {
			t.Fatal(err)
		}
		e.Fdatasync(f.Fd(), 7)
		if _, err := f.WriteAt(fill(512, 2), 512); err != nil {
			t.Fatal(err)
		}
		if tag, res, ok := e.Step(); tag != 7 || res != 0 || !ok {
			t.Fatal(tag, res, ok)
		}
		p := d.Cut(PowerCut).Content("a")
		seen[[2]byte{p[0], p[512]}]++
	}
	if len(seen) != 2 || seen[[2]byte{2, 1}] == 0 || seen[[2]byte{2, 2}] == 0 {
		t.Fatal(seen)
	}
	d, f := durable(t, 1, fill(1024, 1))
	e := d.NewEngine()
	d.FailAt(d.Ops()+1, unix.EIO)
	e.Fdatasync(f.Fd(), 7)
	if _, res, _ := e.Step(); res != -int32(unix.EIO) {
		t.Fatal("failing sync:", res)
	}
}

func TestEngineShort(t *testing.T) {
	d, f := durable(t, 3, fill(4096, 1))
	e := d.NewEngine()
	e.Short = true
	short := 0
	for range 100 {
		e.Writev(f.Fd(), vectors(fill(4096, 2)), 0, 0)
		_, res, _ := e.Step()
		if res <= 0 || res%512 != 0 {
			t.Fatal(res)
		}
		if res < 4096 {
			short++
		}
	}
	if short == 0 || short == 100 {
		t.Fatal(short)
	}
}

// A cut finds writes in flight done, in part or not at all; the disk itself still waits.
func TestCutWithOperationsInFlight(t *testing.T) {
	d, f := durable(t, 4, fill(1024, 1))
	e := d.NewEngine()
	e.Writev(f.Fd(), vectors(fill(1024, 2)), 0, 0)
	for _, kind := range []Kind{Kill, PowerCut} {
		seen := map[[2]byte]int{}
		for range cuts {
			p := d.Cut(kind).Content("a")
			seen[[2]byte{p[0], p[512]}]++
		}
		if len(seen) != 4 {
			t.Fatal(kind, seen)
		}
	}
	if e.Pending() != 1 || d.Content("a")[0] != 1 {
		t.Fatal("a cut changed the disk")
	}
}
