package vhostuser_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// TestRefusedWithReply : a memory message that asks is told no, and the session goes on.
func TestRefusedWithReply(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
	f := started(t, b, vhosttest.Options{})
	bad := append(u64(0), make([]byte, 32)...)
	if err := f.Call(vhosttest.RemMemReg, bad); !errors.Is(err, vhosttest.ErrRefused) {
		t.Error("a region that is not there was removed:", err)
	}
	if err := f.Call(vhosttest.AddMemReg, bad, f.Queue(0).CallFD()); !errors.Is(err, vhosttest.ErrRefused) {
		t.Error("an eventfd became memory:", err)
	}
	if err := f.Call(vhosttest.SetMemTable, u64(3), f.Queue(0).CallFD()); !errors.Is(err, vhosttest.ErrRefused) {
		t.Error("a table without regions was taken:", err)
	}
	if err := f.WriteConfig(0, []byte{1}); !errors.Is(err, vhosttest.ErrRefused) {
		t.Error("the capacity was written:", err)
	}
	if err := f.Call(4711, []byte("?")); !errors.Is(err, vhosttest.ErrRefused) {
		t.Error("an unknown request was obeyed:", err)
	}
	must(t, newDisk(t, f, 0, 1, page).Write(0, make([]byte, page)))
	if n := b.Stats().Refused; n != 5 {
		t.Errorf("%d messages refused, want 5", n)
	}
}

// TestConfigOffset : GET_CONFIG returns the bytes that were asked for, from where they were.
func TestConfigOffset(t *testing.T) {
	d := newRAMDisk(t, 1<<20, 1)
	f := connect(t, serve(t, d, vhostuser.Options{}), vhosttest.Options{})
	all, err := f.Config(0, 256)
	must(t, err)
	must(t, f.WriteConfig(32, []byte{0x77}))
	all[32] = 0x77
	for off := uint32(0); off < 256; off += 5 {
		for _, n := range []uint32{1, 2, 57} {
			if off+n > 256 {
				continue
			}
			p, err := f.Config(off, n)
			must(t, err)
			if !bytes.Equal(p, all[off:off+n]) {
				t.Fatalf("config %d+%d: % x, want % x", off, n, p, all[off:off+n])
			}
		}
	}
}

// TestConfigOutside : a piece of config space that cannot exist is answered without payload, as
// the specification has it, and the session goes on.
func TestConfigOutside(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
	f := connect(t, b, vhosttest.Options{})
	for _, c := range [][2]uint32{{0, 257}, {250, 7}, {256, 1}, {1<<32 - 1, 2}, {8, 1<<32 - 1}} {
		m, err := f.Ask(vhosttest.GetConfig, u32s(c[0], c[1], 0))
		must(t, err)
		if len(m.Payload) != 0 {
			t.Errorf("offset %d, size %d: answered with %d bytes", c[0], c[1], len(m.Payload))
		}
	}
	if _, err := f.Config(0, 256); err != nil {
		t.Error(err)
	}
	if n := b.Stats().Refused; n != 5 {
		t.Errorf("%d messages refused, want 5", n)
	}
}

// TestRemoveUnderLoad : a region is removed while requests that point into it are in flight.
// The reply comes when they are done, and no byte of the region is touched afterwards.
func TestRemoveUnderLoad(t *testing.T) { each(t, removeUnderLoad) }

func removeUnderLoad(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	o.MemSlots = true
	f := started(t, serve(t, d, vhostuser.Options{MemSlots: true}), o)
	disk := newDisk(t, f, 0, 32, page)
	for round := range 8 {
		r, err := f.RAM().Plug(1 << 20)
		must(t, err)
		must(t, f.AddRegion(r))
		stop, count := make(chan struct{}), make(chan int, 1)
		intoRegion(t, f, disk, r.GuestAddr)
		go func() { count <- load(t, disk, stop) }()
		must(t, f.RemRegion(r))
		after := bytes.Clone(f.RAM().Slice(r.GuestAddr, r.Size))
		close(stop)
		<-count
		if !bytes.Equal(after, f.RAM().Slice(r.GuestAddr, r.Size)) {
			t.Fatalf("round %d: the region was written after its removal", round)
		}
		must(t, f.RAM().Unplug(r))
	}
	must(t, f.Stop())
}

// intoRegion has the device read the disk into a region, and sees that it did.
func intoRegion(t *testing.T, f *vhosttest.FrontEnd, disk *vhosttest.Disk, at uint64) {
	t.Helper()
	q := f.Queue(0)
	header := f.Alloc(16, 16) // zeroes: a read of sector 0
	copy(f.RAM().Slice(at, page), bytes.Repeat([]byte{9}, page))
	_, err := q.Add([]vhosttest.Seg{{GPA: header, Len: 16}, {GPA: at, Len: page, Write: true},
		{GPA: at + page, Len: 1, Write: true}})
	must(t, err)
	q.Kick()
	for {
		_, n, ok, err := q.Poll()
		must(t, err)
		if ok {
			if n != page+1 || f.RAM().Slice(at, 1)[0] != 0 {
				t.Fatalf("%d bytes written into the region", n)
			}
			return
		}
		_, err = q.Wait(disk.Timeout)
		must(t, err)
	}
}

// TestRingMemoryRemoved : the rings themselves lie in the region that goes. The ring is
// broken, the front end is told, the session goes on and the ring can be started again.
func TestRingMemoryRemoved(t *testing.T) { each(t, ringMemoryRemoved) }

func ringMemoryRemoved(t *testing.T, o vhosttest.Options) {
	o.MemSlots = true
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{MemSlots: true})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 4, page)
	read(t, disk, 4)
	reap(t, disk, 4)
	must(t, f.RemRegion(f.RAM().Regions()[0]))
	if ok, err := f.Queue(0).WaitErr(5 * time.Second); err != nil || !ok {
		t.Fatal("the error eventfd was not written:", err)
	}
	must(t, f.Stop())
	must(t, f.Start())
	read(t, disk, 4)
	reap(t, disk, 4)
	if n := b.Stats().RingErrors; n != 1 {
		t.Errorf("%d rings broke, want 1", n)
	}
}

// TestReplacedLog : pages marked up to the reply to SET_LOG_BASE are in the old bitmap, later
// ones in the new one, none is lost.
func TestReplacedLog(t *testing.T) { each(t, replacedLog) }

func replacedLog(t *testing.T, o vhosttest.Options) {
	f := started(t, serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{}), o)
	must(t, f.SetLog(true))
	disk := newDisk(t, f, 0, 16, page)
	for range 20 {
		rs := read(t, disk, 16)
		old, err := f.ReplaceLog()
		must(t, err)
		reap(t, disk, 16)
		dirty := map[uint64]bool{}
		for _, p := range append(old, f.CollectDirty()...) {
			dirty[p] = true
		}
		for _, r := range rs {
			if !dirty[r.GPA()/page] || !dirty[(r.GPA()+page)/page] {
				t.Fatalf("page %#x of a read is in neither bitmap", r.GPA()/page)
			}
		}
	}
	must(t, f.SetLog(false))
	must(t, f.Stop())
}

// TestLogFollowsFeatures : LOG_ALL alone switches the marking of data, also while the ring
// runs and though its own pages are not to be marked.
func TestLogFollowsFeatures(t *testing.T) { each(t, logFollowsFeatures) }

func logFollowsFeatures(t *testing.T, o vhosttest.Options) {
	f := started(t, serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{}), o)
	disk := newDisk(t, f, 0, 4, page)
	bits := f.Acked()
	must(t, f.StartLog())
	must(t, f.SendLogBase())
	for i := range 4 {
		on := i%2 == 1
		if on {
			must(t, f.SetFeatures(bits|vhosttest.FeatureLogAll))
		} else {
			must(t, f.SetFeatures(bits))
		}
		_, err := f.Ask(vhosttest.GetFeatures, nil)
		must(t, err)
		rs := read(t, disk, 4)
		reap(t, disk, 4)
		if f.Dirty(rs[0].GPA()) != on {
			t.Errorf("data marked: %v, want %v", !on, on)
		}
		if desc, _, device := f.Queue(0).Areas(); f.Dirty(desc) || f.Dirty(device) {
			t.Error("the ring is marked, unasked")
		}
		f.CollectDirty()
	}
}

// TestWithoutProtocolFeatures : a front end without that bit never enables its rings, which
// therefore run from the kick on.
func TestWithoutProtocolFeatures(t *testing.T) {
	f := connect(t, serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{}), vhosttest.Options{Bare: true})
	must(t, f.SetFeatures(vhosttest.FeatureVersion1))
	must(t, f.SetCall(f.Queue(0)))
	must(t, f.SendMemory())
	must(t, f.StartRing(f.Queue(0)))
	disk := newDisk(t, f, 0, 4, page)
	disk.Driver().Mode = vhosttest.Direct
	read(t, disk, 4)
	reap(t, disk, 4)
}

// TestNoFD : a ring without eventfds is polled and not notified.
func TestNoFD(t *testing.T) {
	f := connect(t, serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{}), vhosttest.Options{})
	must(t, f.Start())
	must(t, f.Stop())
	q := f.Queue(0)
	must(t, f.Tell(vhosttest.SetVringCall, u64(vhosttest.NoFD)))
	must(t, f.Tell(vhosttest.SetVringKick, u64(vhosttest.NoFD)))
	must(t, f.EnableAll(true))
	_, err := q.WaitCall(0)
	must(t, err)
	disk := newDisk(t, f, 0, 1, page)
	r := disk.Get()
	r.Op, r.Len = vhosttest.OpRead, page
	must(t, disk.Submit(r))
	var done []*vhosttest.Req
	eventually(t, "the request is done", func() bool {
		done, err = disk.Reap(done)
		return err != nil || len(done) == 1
	})
	must(t, err)
	if ok, err := q.WaitCall(short); err != nil || ok {
		t.Error("interrupted without a call eventfd:", err)
	}
	_, err = f.GetBase(0)
	must(t, err)
}

// TestWraps drives three times 65,536 requests through the socketed rings: every index and
// wrap counter wraps, with ring sizes that divide 65,536 and one that does not.
func TestWraps(t *testing.T) {
	for _, o := range []vhosttest.Options{
		{EventIdx: true, QueueSize: 64},
		{Indirect: true, QueueSize: 128},
		{Packed: true, EventIdx: true, QueueSize: 100},
		{Packed: true, Indirect: true, EventIdx: true, QueueSize: 64},
	} {
		t.Run(fmt.Sprintf("packed=%v/%d", o.Packed, o.QueueSize), func(t *testing.T) {
			const requests = 3 * 65536
			d := newRAMDisk(t, 1<<20, 1)
			b := serve(t, d, vhostuser.Options{})
			f := started(t, b, o)
			disk := newDisk(t, f, 0, 20, sector)
			drive(t, disk, requests)
			must(t, f.Stop())
			if n := d.executed.Load(); n != requests {
				t.Errorf("%d requests executed, want %d", n, requests)
			}
			if n := b.Stats().Requests[0]; n != requests {
				t.Errorf("%d requests counted, want %d", n, requests)
			}
		})
	}
}

// drive writes numbered sectors and reads them back, a batch of each in turn.
func drive(t *testing.T, disk *vhosttest.Disk, requests int) {
	t.Helper()
	const batch = 20
	var done []*vhosttest.Req
	for n := 0; n < requests; n += len(done) {
		op := vhosttest.OpWrite
		if n/batch%2 == 1 {
			op = vhosttest.OpRead
		}
		for i := range min(batch, requests-n) {
			r := disk.Get()
			r.Op, r.Sector, r.Len, r.User = op, uint64(i), sector, uint64(n/batch/2)
			if op == vhosttest.OpWrite {
				fill(r.Data()[:sector], byte(int(r.User)+i))
			}
			must(t, disk.Submit(r))
		}
		disk.Kick()
		for done = done[:0]; disk.InFlight() > 0; {
			var err error
			done, err = disk.Wait(done, disk.Timeout)
			must(t, err)
		}
		for _, r := range done {
			if r.Err() != nil || r.Data()[0] != byte(r.User+r.Sector) || r.Data()[sector-1] != r.Data()[0] {
				t.Fatalf("request %d: %v, sector %d holds %#x", n, r.Err(), r.Sector, r.Data()[0])
			}
			disk.Put(r)
		}
	}
}

// TestTwoQueues : queues are served at the same time and stop one by one.
func TestTwoQueues(t *testing.T) { each(t, twoQueues) }

func twoQueues(t *testing.T, o vhosttest.Options) {
	o.Queues = 2
	d := newRAMDisk(t, 1<<20, 2)
	d.held = func(write bool, _ uint64) bool { return !write }
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	first, second := newDisk(t, f, 0, 4, page), newDisk(t, f, 1, 4, page)
	read(t, first, 4) // stay
	must(t, second.Write(1024, make([]byte, page)))
	must(t, f.Enable(1, false))
	_, err := f.GetBase(1)
	must(t, err)
	if first.InFlight() != 4 {
		t.Error("the first queue was stopped with the second")
	}
	d.gate.release()
	reap(t, first, 4)
}
