package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// The tests TestTrap01 to TestTrap12 are the known ways in which back ends have broken QEMU
// 7.2, worst first. Each names its trap.

// short is how long a test listens for what must not come.
const short = 30 * time.Millisecond

const page = 4096

var bothRings = []struct {
	name string
	o    vhosttest.Options
}{
	{"split", vhosttest.Options{EventIdx: true, Indirect: true, Inflight: true}},
	{"packed", vhosttest.Options{Packed: true, EventIdx: true, Indirect: true, Inflight: true}},
}

func each(t *testing.T, test func(t *testing.T, o vhosttest.Options)) {
	for _, c := range bothRings {
		t.Run(c.name, func(t *testing.T) { test(t, c.o) })
	}
}

// read submits n reads of one page each.
func read(t *testing.T, disk *vhosttest.Disk, n int) []*vhosttest.Req {
	t.Helper()
	var rs []*vhosttest.Req
	for i := range n {
		r := disk.Get()
		r.Op, r.Sector, r.Len = vhosttest.OpRead, uint64(i)*page/sector, page
		must(t, disk.Submit(r))
		rs = append(rs, r)
	}
	disk.Kick()
	return rs
}

// reap takes n completions that are there or arrive, and returns the requests.
func reap(t *testing.T, disk *vhosttest.Disk, n int) {
	t.Helper()
	var done []*vhosttest.Req
	for len(done) < n {
		var err error
		done, err = disk.Wait(done, disk.Timeout)
		must(t, err)
	}
	for _, r := range done {
		must(t, r.Err())
		disk.Put(r)
	}
}

// TestTrap01 : GET_VRING_BASE is answered after the last write to guest memory, not before,
// and every page that was written is marked.
func TestTrap01(t *testing.T) { each(t, trap01) }

func trap01(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	d.held = func(bool, uint64) bool { return true }
	fill(d.data, 0x5a)
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	must(t, f.SetLog(true))
	disk := newDisk(t, f, 0, 8, page)
	rs := read(t, disk, 8)
	eventually(t, "the device has all requests", func() bool { return d.executed.Load() == 8 })

	must(t, f.EnableAll(false))
	must(t, f.Tell(vhosttest.GetVringBase, make([]byte, 8)))
	must(t, f.Quiet(short))
	d.gate.release()
	m, err := f.Recv()
	must(t, err)
	after := bytes.Clone(f.Memory())
	if base := uint32(m.U64() >> 32); !o.Packed && base != 8 || o.Packed && base&0x7fff != 8 {
		t.Fatalf("base %#x after eight requests", base)
	}
	for _, r := range rs {
		if !f.Dirty(r.GPA()) {
			t.Errorf("data of sector %d is not marked", r.Sector)
		}
		if !bytes.Equal(r.Data()[:page], d.data[:page]) {
			t.Errorf("data of sector %d is not there", r.Sector)
		}
	}
	desc, _, device := f.Queue(0).Areas()
	used := device
	if o.Packed {
		used = desc
	}
	if !f.Dirty(used) {
		t.Error("the used elements are not marked")
	}
	reap(t, disk, 8)
	<-time.After(short)
	unchanged(t, f, after, device)
}

// unchanged compares memory with an earlier copy; the driver's own part of the ring, which
// the test has written meanwhile, is left out.
func unchanged(t *testing.T, f *vhosttest.FrontEnd, before []byte, device uint64) {
	t.Helper()
	_, driver, _ := f.Queue(0).Areas()
	now := bytes.Clone(f.Memory())
	copy(now[driver:driver+page], before[driver:driver+page])
	for at := 0; at < len(now); at += page {
		if !bytes.Equal(now[at:at+page], before[at:at+page]) {
			t.Errorf("guest page %#x was written after the reply (device part %#x)", at, device)
		}
	}
}

// TestTrap02 : nothing makes QEMU wait for I/O but GET_VRING_BASE and memory that goes.
func TestTrap02(t *testing.T) { each(t, trap02) }

func trap02(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 2)
	d.held = func(write bool, _ uint64) bool { return !write }
	o.Queues, o.Timeout = 2, 5*time.Second
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	disk := newDisk(t, f, 0, 4, page)
	read(t, disk, 4)
	eventually(t, "the device has all requests", func() bool { return d.executed.Load() == 4 })

	must(t, f.SetCall(f.Queue(0)))
	must(t, f.SetErr(f.Queue(0)))
	must(t, f.SetAddr(f.Queue(0), false))
	must(t, f.SendTable())
	must(t, f.Init())
	must(t, newDisk(t, f, 1, 1, page).Write(1024, make([]byte, page))) // memory is still there
	extra, err := f.RAM().Plug(1 << 20)
	must(t, err)
	must(t, f.AddRegion(extra))
	must(t, f.SendTable())
	_, err = f.Config(0, 57)
	must(t, err)
	must(t, f.WriteConfig(32, []byte{1}))
	must(t, f.EnableAll(false))
	_, err = f.Ask(vhosttest.GetFeatures, nil)
	must(t, err)
	must(t, f.EnableAll(true))
	_, err = f.Ask(vhosttest.GetFeatures, nil)
	must(t, err)
	if d.executed.Load() != 5 {
		t.Fatal("a request was executed twice")
	}
	d.gate.release()
	reap(t, disk, 4)
	must(t, f.Stop())
}

// TestTrap03 : the connection stays open while the machine is stopped, also for a connection
// that begins without an init, and GET_VRING_BASE for a ring that never started on it is not
// answered.
func TestTrap03(t *testing.T) { each(t, trap03) }

func trap03(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 2)
	b := serve(t, d, vhostuser.Options{})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 4, page)
	must(t, disk.Write(0, make([]byte, page)))
	must(t, f.Stop())
	must(t, f.Quiet(short))
	must(t, f.Start())
	must(t, disk.Flush())
	must(t, f.Stop())

	// The back end dies while the machine is paused; QEMU goes on with section "start".
	must(t, f.Attach(b.path))
	must(t, f.Start())
	must(t, disk.Write(8, make([]byte, page)))
	must(t, f.Stop())

	must(t, f.Attach(b.path))
	if _, err := f.GetBase(0); err == nil {
		t.Fatal("the base of a ring that never started was answered")
	}
	must(t, f.Attach(b.path))
	must(t, f.Start())
	if _, err := f.GetBase(1); err == nil {
		t.Fatal("the base of a queue that the guest never set up was answered")
	}
}

// TestTrap04 : nothing of a ring lives on over a stop. A COLO secondary is started at its
// primary's index, with other ring memory, and with its own old inflight region.
func TestTrap04(t *testing.T) { each(t, trap04) }

func trap04(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	b := serve(t, d, vhostuser.Options{})
	ram, err := vhosttest.NewMemory(16<<20, 1)
	must(t, err)
	defer func() { must(t, ram.Close()) }()
	o.Memory = ram
	f := connect(t, b, o)
	fresh := bytes.Clone(f.Memory()) // the rings before their first request
	base := f.Queue(0).Base()
	must(t, f.Start())
	disk := newDisk(t, f, 0, 16, page)
	read(t, disk, 16)
	reap(t, disk, 16)
	must(t, f.Stop())
	if !clean(f.Inflight()) {
		t.Error("the inflight region has entries after a drained stop")
	}

	// The "primary" has never run: memory and index go back to the beginning.
	copy(f.Memory(), fresh)
	f.Queue(0).Reset()
	f.Queue(0).SetBase(base)
	must(t, f.Start())
	executed := d.executed.Load()
	read(t, disk, 16)
	reap(t, disk, 16)
	if got := d.executed.Load() - executed; got != 16 {
		t.Fatalf("%d requests executed, want 16", got)
	}
	must(t, f.Stop())
}

// clean looks for entries in flight: each is 16 bytes in split regions and 32 in packed ones,
// and begins with the flag.
func clean(region []byte) bool {
	version, descs := binary.LittleEndian.Uint16(region[8:]), binary.LittleEndian.Uint16(region[10:])
	if version == 0 || descs == 0 {
		return true
	}
	length, start := 16, 16
	if len(region) >= 32+32*int(descs) {
		length, start = 32, 32
	}
	for i := range int(descs) {
		if region[start+i*length] == 1 {
			return false
		}
	}
	return true
}

// TestTrap05 : SET_LOG_BASE is answered although it does not ask, on any connection.
func TestTrap05(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
	for _, bare := range []bool{false, true} {
		f := connect(t, b, vhosttest.Options{Bare: bare})
		must(t, f.StartLog())
		for range 3 {
			must(t, f.SendLogBase())
		}
		must(t, f.Quiet(short))
		must(t, f.Disconnect())
	}
}

// TestTrap06 : switching the log on is never refused, not even with a bitmap that is too
// short, on rings that never started, or twice.
func TestTrap06(t *testing.T) { each(t, trap06) }

func trap06(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 2)
	o.Queues = 2
	f := connect(t, serve(t, d, vhostuser.Options{}), o)
	logAll := f.Acked() | vhosttest.FeatureLogAll
	must(t, f.SetFeatures(logAll)) // before any bitmap
	must(t, f.SetAddr(f.Queue(1), true))
	must(t, f.SetFeatures(f.Acked()))
	must(t, f.StartQueues(1))

	short, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	must(t, err)
	defer func() { must(t, unix.Close(short)) }()
	must(t, unix.Ftruncate(short, 8))
	p := binary.LittleEndian.AppendUint64(nil, 8)
	_, err = f.Ask(vhosttest.SetLogBase, append(p, make([]byte, 8)...), short)
	must(t, err)
	disk := newDisk(t, f, 0, 4, page)
	for range 2 {
		must(t, f.SetFeatures(logAll))
		must(t, f.SetAddr(f.Queue(0), true))
		must(t, f.SetAddr(f.Queue(1), true))
		read(t, disk, 4)
		reap(t, disk, 4)
	}
	must(t, f.SetLog(true))
	must(t, f.SetLog(false))
	must(t, f.Stop())
}
