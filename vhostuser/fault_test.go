package vhostuser

import (
	"errors"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// memfdTable is heapTable in memory files that the test can truncate: the rings in the first,
// data in the second.
func memfdTable(t testing.TB) (table *memTable, rings, data int) {
	t.Helper()
	rings, data = memfd(t, int64(regionSize)), memfd(t, int64(regionSize))
	table, err := replaceTable(nil, []memRegion{
		{guestAddr: guestBase, size: regionSize, userAddr: userBase},
		{guestAddr: guestBase + regionSize, size: regionSize, userAddr: userBase + 2*regionSize},
	}, []int{rings, data})
	must(t, err)
	t.Cleanup(func() { table.release(nil) })
	return table, rings, data
}

// TestFaultInData : a buffer vanished. The copy fails, the chain and the ring go on.
func TestFaultInData(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		mem, _, data := memfdTable(t)
		r := attach(t, mem, newDriver(mem, packed, 8, false), rigOptions{})
		at := guestBase + regionSize + 8192
		id := r.drv.add(false, seg{at, 16, false}, seg{at, 512, true})
		var c Chain
		r.next(&c)
		must(t, unix.Ftruncate(data, 4096))
		buf := make([]byte, 512)
		var fault *FaultError
		if _, err := c.CopyIn(buf[:16], 0); !errors.Is(err, ErrFault) || !errors.As(err, &fault) {
			t.Errorf("CopyIn: %v", err)
		}
		if _, err := c.CopyOut(buf, 0); !errors.Is(err, ErrFault) {
			t.Errorf("CopyOut: %v", err)
		}
		r.q.Complete(&c, 0)
		r.publish()
		r.wantUsed(id, 0)
	})
}

// TestFaultInRing : the ring itself vanished. Every entry point says so, for good.
func TestFaultInRing(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		for name, use := range map[string]func(q *Queue, c *Chain) error{
			"Next":    func(q *Queue, c *Chain) error { _, err := q.Next(new(Chain)); return err },
			"Publish": func(q *Queue, c *Chain) error { q.Complete(c, 0); return q.Publish() },
			"Arm":     func(q *Queue, c *Chain) error { _, err := q.Arm(); return err },
			"Disarm":  func(q *Queue, c *Chain) error { q.Disarm(); return q.Publish() },
		} {
			t.Run(name, func(t *testing.T) {
				mem, rings, _ := memfdTable(t)
				r := attach(t, mem, newDriver(mem, packed, 8, false), rigOptions{})
				r.drv.add(false, seg{dataAt, 16, false})
				var c Chain
				r.next(&c)
				must(t, unix.Ftruncate(rings, 0))
				wantBroken(t, use(r.q, &c))
				_, err := r.q.Next(&c)
				wantBroken(t, err)
				wantBroken(t, r.q.Publish())
			})
		}
	})
}

func wantBroken(t *testing.T, err error) {
	t.Helper()
	var broken *RingError
	if !errors.Is(err, ErrFault) || !errors.As(err, &broken) {
		t.Errorf("%v, want a RingError with ErrFault", err)
	}
}

// TestFaultAtStart : the ring vanished between the memory table and the start.
func TestFaultAtStart(t *testing.T) {
	mem, rings, _ := memfdTable(t)
	c := newDriver(mem, false, 8, false).config()
	must(t, unix.Ftruncate(rings, 0))
	if _, err := newQueue(c, mem, nil, nil); !errors.Is(err, ErrFault) {
		t.Errorf("newQueue: %v", err)
	}
}

// TestFaultInTable : an indirect table vanished.
func TestFaultInTable(t *testing.T) {
	mem, _, data := memfdTable(t)
	r := attach(t, mem, newDriver(mem, false, 8, false), rigOptions{})
	must(t, unix.Ftruncate(data, 0))
	r.drv.(*splitDriver).addRaw(seg{addr: guestBase + regionSize, len: 16}, flagIndirect)
	_, err := r.q.Next(new(Chain))
	wantBroken(t, err)
}

// TestFaultInShared : the dirty log or the inflight region vanished.
func TestFaultInShared(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		logFD := memfd(t, 1<<17)
		log, err := mapDirtyLog(logFD, 1<<17, 0)
		must(t, err)
		defer log.close()
		size := uint64(pieceLen(8, packed))
		flightFD := memfd(t, int64(size))
		fl, err := mapInflight(flightFD, size, 0, 1, 8, packed)
		must(t, err)
		defer fl.close()

		r := newRig(t, rigOptions{packed: packed, size: 8, log: log})
		r.drv.add(false, seg{dataAt, 1, true})
		var c Chain
		r.next(&c)
		must(t, unix.Ftruncate(logFD, 0))
		r.q.Complete(&c, 1)
		wantBroken(t, r.q.Publish())

		r = newRig(t, rigOptions{packed: packed, size: 8, fl: fl})
		r.drv.add(false, seg{dataAt, 1, true})
		must(t, unix.Ftruncate(flightFD, 0))
		_, err = r.q.Next(&c)
		wantBroken(t, err)
		fl.clear(0)
	})
}

// TestFaultElsewhere : a fault outside shared memory is ours, and is not hidden.
func TestFaultElsewhere(t *testing.T) {
	fd := memfd(t, 4096)
	private, err := mapFile("private", fd, 0, 4096)
	must(t, err)
	defer private.unmap()
	must(t, unix.Ftruncate(fd, 0))
	defer func() {
		if recover() == nil {
			t.Error("a fault in foreign memory was taken for the guest's")
		}
	}()
	q := newRig(t, rigOptions{size: 8}).q
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	_ = func() (err error) {
		defer recoverFault(true, q, &err)
		private.bytes[0] = 1
		return nil
	}()
}
