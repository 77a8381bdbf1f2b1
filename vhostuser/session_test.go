package vhostuser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// pair connects a front end to ServeConn and returns what that will return.
func pair(t *testing.T, d vhostuser.Device, o vhosttest.Options) (*vhosttest.FrontEnd, <-chan error) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		must(t, err)
		must(t, file.Close())
		ends[i] = c.(*net.UnixConn)
	}
	result := make(chan error, 1)
	go func() {
		result <- vhostuser.NewServer(d, nil, vhostuser.Options{}).ServeConn(context.Background(), ends[1])
	}()
	f, err := vhosttest.NewConn(ends[0], o)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() }) // the server may have hung up first
	return f, result
}

// TestHostileMessages : each of these ends the session with an error that names message,
// field and value; nothing crashes, hangs or stays open.
func TestHostileMessages(t *testing.T) {
	table := func(n uint64, regions int) []byte { return append(u64(n), make([]byte, 32*regions)...) }
	region := func(gpa, size, user, off uint64) []byte {
		return bytes.Join([][]byte{u64(gpa), u64(size), u64(user), u64(off)}, nil)
	}
	addr := func(index uint32, desc uint64) []byte {
		return append(u32s(index, 0), bytes.Join([][]byte{u64(desc), u64(desc), u64(desc), u64(0)}, nil)...)
	}
	inflight := func(size uint64, queues, queueSize uint32) []byte {
		return append(append(u64(size), u64(0)...), u32s(queues|queueSize<<16)...)
	}
	for _, c := range []struct {
		request uint32
		payload []byte
		fds     int
		want    string
	}{
		{vhosttest.SetVringNum, u32s(2, 128), 0, "SET_VRING_NUM: queue 0x2"},
		{vhosttest.SetVringNum, u32s(0, 0), 0, "SET_VRING_NUM: num 0x0"},
		{vhosttest.SetVringNum, u32s(0, 32769), 0, "SET_VRING_NUM: num 0x8001"},
		{vhosttest.SetVringBase, u32s(1<<31, 0), 0, "SET_VRING_BASE: queue 0x80000000"},
		{vhosttest.SetVringAddr, addr(99, 0), 0, "SET_VRING_ADDR: queue 0x63"},
		{vhosttest.SetVringEnable, u32s(256, 1), 0, "SET_VRING_ENABLE: queue 0x100"},
		{vhosttest.SetVringEnable, u32s(0, 2), 0, "SET_VRING_ENABLE: enable 0x2"},
		{vhosttest.GetVringBase, u32s(7, 0), 0, "GET_VRING_BASE: queue 0x7"},
		{vhosttest.GetVringBase, u32s(0, 0), 0, "GET_VRING_BASE: queue 0x0"},
		{vhosttest.SetVringKick, u64(0), 0, "SET_VRING_KICK: payload 0x0"},
		{vhosttest.SetVringKick, u64(0), 1, "SET_VRING_KICK: queue 0x0"},
		{vhosttest.SetVringKick, u64(0x1ff), 0, "SET_VRING_KICK: queue 0xff"},
		{vhosttest.SetVringCall, u64(0xffff), 1, "SET_VRING_CALL: payload 0xffff"},
		{vhosttest.SetVringErr, u64(9), 1, "SET_VRING_ERR: queue 0x9"},
		{vhosttest.SetMemTable, table(9, 9), 8, "SET_MEM_TABLE: number of regions 0x9"},
		{vhosttest.SetMemTable, table(0xffff_ffff, 8), 8, "SET_MEM_TABLE: number of regions 0xffffffff"},
		{vhosttest.SetMemTable, table(2, 1), 2, "SET_MEM_TABLE: number of regions 0x2"},
		{vhosttest.SetMemTable, table(2, 2), 1, "SET_MEM_TABLE: file descriptors 0x1"},
		{vhosttest.SetMemTable, append(u64(1), region(0, 1<<40, 0, 0)...), 1, "SET_MEM_TABLE: regions 0x1"},
		{vhosttest.AddMemReg, append(u64(0), region(4096, 1<<63, 0, 1<<63)...), 1, "ADD_MEM_REG: guest addr"},
		{vhosttest.AddMemReg, make([]byte, 40), 2, "ADD_MEM_REG: file descriptors 0x2"},
		{vhosttest.RemMemReg, append(u64(0), region(4096, 4096, 0, 0)...), 0, "REM_MEM_REG: guest address 0x1000"},
		{vhosttest.SetLogBase, append(u64(1<<62), u64(0)...), 1, "SET_LOG_BASE: size 0x4000000000000000"},
		{vhosttest.SetLogBase, append(u64(64), u64(1<<63)...), 1, "SET_LOG_BASE: size 0x40"},
		{vhosttest.GetConfig, u32s(0, 257, 0), 0, "GET_CONFIG: size 0x101"},
		{vhosttest.GetConfig, u32s(0xffff_ffff, 2, 0), 0, "GET_CONFIG: offset 0xffffffff"},
		{vhosttest.GetInflightFD, inflight(0, 257, 128), 0, "GET_INFLIGHT_FD: queues 0x101"},
		{vhosttest.GetInflightFD, inflight(0, 1, 40000), 0, "GET_INFLIGHT_FD: queue size 0x9c40"},
		{vhosttest.SetInflightFD, inflight(64, 1, 128), 0, "SET_INFLIGHT_FD: file desc"},
		{vhosttest.SetInflightFD, inflight(64, 1, 128), 1, "SET_INFLIGHT_FD: size 0x40"},
		{vhosttest.SetOwner, make([]byte, 4097), 0, "SET_OWNER: size 0x1001"},
	} {
		t.Run(c.want, func(t *testing.T) {
			before := openFDs(t)
			f, result := pair(t, newRAMDisk(t, 1<<20, 2), vhosttest.Options{Bare: true})
			ev := f.Queue(0).CallFD()
			must(t, f.Tell(c.request, c.payload, []int{ev, ev, ev, ev, ev, ev, ev, ev}[:c.fds]...))
			var me *vhostuser.MessageError
			if err := <-result; !errors.As(err, &me) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q in it", err, c.want)
			}
			must(t, f.Close())
			if after := openFDs(t); after > before+1 { // the disk's gate lives until the test ends
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(es)
}

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

// TestSilentPeer : whoever connects and says nothing, or half a message, does not keep the
// server from stopping.
func TestSilentPeer(t *testing.T) {
	for _, say := range [][]byte{nil, {1, 0, 0, 0, 1}} {
		b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
		f := connect(t, b, vhosttest.Options{Bare: true})
		must(t, f.SendRaw(say))
		second := connect(t, b, vhosttest.Options{Bare: true})
		eventually(t, "connected", b.Connected)
		must(t, b.stop())
		if _, err := second.Recv(); err == nil {
			t.Error("the waiting front end was answered")
		}
	}
}

// TestDeafPeer : whoever asks and never reads the answers does not either.
func TestDeafPeer(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
	f := connect(t, b, vhosttest.Options{Bare: true, Timeout: 100 * time.Millisecond})
	for f.Tell(vhosttest.GetFeatures, nil) == nil {
		// until both socket buffers are full
	}
	must(t, b.stop())
}

// TestOneAtATime : a new front end is served when the old one's requests have ended.
func TestOneAtATime(t *testing.T) { each(t, oneAtATime) }

func oneAtATime(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	d.held = func(bool, uint64) bool { return true }
	b := serve(t, d, vhostuser.Options{})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 4, page)
	read(t, disk, 4)
	eventually(t, "the device has all requests", func() bool { return d.executed.Load() == 4 })

	o.Timeout, o.Bare = short, true
	second := connect(t, b, o)
	must(t, f.Disconnect())
	if _, err := second.Ask(vhosttest.GetFeatures, nil); err == nil {
		t.Fatal("served beside requests of the old front end")
	}
	d.gate.release()
	if m, err := second.Recv(); err != nil || m.Request != vhosttest.GetFeatures {
		t.Fatal("not served after the old front end was gone:", err)
	}
	must(t, second.Disconnect())

	// The requests were completed into the old memory, and are not executed again.
	must(t, f.Reconnect(b.path))
	reap(t, disk, 4)
	if n := d.executed.Load(); n != 4 {
		t.Errorf("%d requests executed, want 4", n)
	}
}

// TestStopInMidFlight : a server that ends finishes what its device has taken.
func TestStopInMidFlight(t *testing.T) { each(t, stopInMidFlight) }

func stopInMidFlight(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	d.held = func(_ bool, s uint64) bool { return s%16 == 0 }
	b := serve(t, d, vhostuser.Options{})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 8, page)
	read(t, disk, 8) // every other one stays
	reap(t, disk, 4)
	stopped := make(chan error, 1)
	go func() { stopped <- b.stop() }()
	select {
	case <-stopped:
		t.Fatal("the server ended with requests in flight")
	case <-time.After(short):
	}
	d.gate.release()
	must(t, <-stopped)
	reap(t, disk, 4)
	if d.runs.Load() != 0 || !clean(f.Inflight()) {
		t.Error("something was left behind")
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

// TestServeNeedsUnixSockets : another kind of listener is a mistake that harms nobody.
func TestServeNeedsUnixSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := vhostuser.NewServer(newRAMDisk(t, 1<<20, 1), nil, vhostuser.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("answered over TCP")
	}
	must(t, c.Close())
	cancel()
	must(t, <-done)
}

// TestClosedListener : Serve does not spin on a listener that is gone.
func TestClosedListener(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	must(t, err)
	must(t, l.Close())
	s := vhostuser.NewServer(newRAMDisk(t, 1<<20, 1), nil, vhostuser.Options{})
	if err := s.Serve(context.Background(), l); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
