package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
	time.Sleep(short)
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
	d.held = func(bool, uint64) bool { return true }
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
	if d.executed.Load() != 4 {
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

// TestTrap07 : what did not ask is not answered, what asked is answered once, with the exact
// size.
func TestTrap07(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{MemSlots: true})
	f := connect(t, b, vhosttest.Options{Inflight: true})
	ev := f.Queue(0).CallFD()
	silent := []struct {
		request uint32
		payload []byte
		fds     []int
	}{
		{vhosttest.SetFeatures, u64(f.Acked()), nil},
		{vhosttest.SetProtocolFeatures, u64(f.Protocol()), nil},
		{vhosttest.SetOwner, nil, nil},
		{vhosttest.ResetOwner, nil, nil},
		{vhosttest.SetVringNum, u32s(0, 128), nil},
		{vhosttest.SetVringBase, u32s(0, 0), nil},
		{vhosttest.SetVringAddr, make([]byte, 40), nil},
		{vhosttest.SetVringCall, u64(0), []int{ev}},
		{vhosttest.SetVringErr, u64(0x100), nil},
		{vhosttest.SetVringEnable, u32s(0, 1), nil},
		{vhosttest.SetLogFD, nil, []int{ev}},
		{vhosttest.SetConfig, append(u32s(32, 1, 0), 1), nil},
		{vhosttest.SetConfig, append(u32s(0, 1, 0), 1), nil}, // refused, in silence
		{vhosttest.SetInflightFD, make([]byte, 24), nil},
		{4711, []byte("what is this"), []int{ev}},
	}
	for _, m := range silent {
		must(t, f.Tell(m.request, m.payload, m.fds...))
		offered, err := f.Ask(vhosttest.GetFeatures, nil)
		if err != nil || offered.U64() != f.Offered() {
			t.Fatalf("after request %d: %v", m.request, err)
		}
		reply, err := ack(f, m.request, m.payload, m.fds...)
		if err != nil || len(reply.Payload) != 8 {
			t.Fatalf("request %d with NEED_REPLY: %v", m.request, err)
		}
	}
	for _, n := range []uint32{1, 36, 57, 60, 256} {
		_, err := f.Config(0, n) // checks the size
		must(t, err)
	}
	for _, request := range []uint32{vhosttest.GetFeatures, vhosttest.GetQueueNum, vhosttest.GetMaxMemSlots} {
		_, err := ack(f, request, nil) // its own reply and no second one
		must(t, err)
	}
	must(t, f.Quiet(short))
}

// ack sends a request with NEED_REPLY and returns the reply.
func ack(f *vhosttest.FrontEnd, request uint32, p []byte, fds ...int) (*vhosttest.Message, error) {
	err := f.Send(&vhosttest.Message{
		Request: request, Flags: vhosttest.FlagVersion | vhosttest.FlagNeedReply, Payload: p, FDs: fds,
	})
	if err != nil {
		return nil, err
	}
	m, err := f.Recv()
	if err == nil && (m.Request != request || m.Flags != 5) {
		err = fmt.Errorf("answered by %d with flags %#x", m.Request, m.Flags)
	}
	return m, err
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func u32s(vs ...uint32) []byte {
	var p []byte
	for _, v := range vs {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	return p
}

// TestTrap08 : SET_FEATURES, SET_VRING_ADDR, SET_VRING_CALL and SET_MEM_TABLE do not disturb
// a ring that runs, nor do the log's switching and messages meant for the next start.
func TestTrap08(t *testing.T) { each(t, trap08) }

func trap08(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	o.Regions = 3
	f := started(t, serve(t, d, vhostuser.Options{}), o)
	disk := newDisk(t, f, 0, 32, page)
	stop := make(chan struct{})
	count := make(chan int, 1)
	go func() { count <- load(t, disk, stop) }()
	for i := range 40 {
		disturb(t, f, i)
	}
	close(stop)
	n := <-count
	must(t, f.Stop())
	if d.executed.Load() != uint64(n) {
		t.Errorf("%d requests were executed, %d submitted", d.executed.Load(), n)
	}
}

// disturb sends what QEMU may send while the ring runs.
func disturb(t *testing.T, f *vhosttest.FrontEnd, i int) {
	t.Helper()
	q := f.Queue(0)
	must(t, f.SetFeatures(f.Acked()))
	must(t, f.SetAddr(q, false))
	must(t, f.SetCall(q))
	must(t, f.SetErr(q))
	must(t, f.SendTable())
	must(t, f.Tell(vhosttest.SetVringBase, u32s(0, 7)))
	must(t, f.Tell(vhosttest.SetVringNum, u32s(0, 4)))
	must(t, f.SendInflight())
	must(t, f.Enable(0, true))
	switch i % 4 {
	case 0:
		must(t, f.SetLog(true))
	case 1:
		_, err := f.ReplaceLog()
		must(t, err)
	case 2:
		must(t, f.SetLog(false))
	case 3:
		must(t, f.Enable(0, false))
		must(t, f.Enable(0, true))
	}
	must(t, f.Tell(vhosttest.SetVringNum, u32s(0, uint32(q.Size()))))
}

// load writes and reads back until stop, with all of the disk's requests in flight, and
// returns how many there were.
func load(t *testing.T, disk *vhosttest.Disk, stop <-chan struct{}) int {
	n := 0
	var done []*vhosttest.Req
	for ending := false; !ending || disk.InFlight() > 0; {
		select {
		case <-stop:
			ending = true
		default:
		}
		for r := disk.Get(); r != nil && !ending; r = disk.Get() {
			r.Op, r.Sector, r.Len = vhosttest.Op(n%2), uint64(n%64), sector
			if err := disk.Submit(r); err != nil {
				t.Error(err)
				return n
			}
			n++
		}
		disk.Kick()
		if disk.InFlight() == 0 {
			continue
		}
		var err error
		if done, err = disk.Wait(done[:0], disk.Timeout); err != nil {
			t.Error(err)
			return n
		}
		for _, r := range done {
			if r.Err() != nil {
				t.Error(r.Err())
			}
			disk.Put(r)
		}
	}
	return n
}

// TestTrap09 : a second init on the same connection sends all regions again; queues that the
// guest never set up are enabled; a boot starts the device twice.
func TestTrap09(t *testing.T) { each(t, trap09) }

func trap09(t *testing.T, o vhosttest.Options) {
	o.Queues, o.MemSlots, o.Regions = 2, true, 2
	f := connect(t, serve(t, newRAMDisk(t, 1<<20, 2), vhostuser.Options{MemSlots: true}), o)
	disk := newDisk(t, f, 0, 8, page)
	for range 3 {
		must(t, f.StartQueues(1)) // the firmware
		read(t, disk, 8)
		reap(t, disk, 8)
		must(t, f.Reset())
		must(t, f.Start()) // the kernel
		read(t, disk, 8)
		reap(t, disk, 8)
		must(t, f.Reset())
		must(t, f.Init()) // unplugged and plugged again
		for _, r := range f.RAM().Regions() {
			must(t, f.AddRegion(r))
			must(t, f.AddRegion(r))
		}
	}
}

// TestTrap10 : features that QEMU 7.2 takes but does not get right are not offered.
func TestTrap10(t *testing.T) {
	for _, slots := range []bool{false, true} {
		b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{MemSlots: slots})
		f := connect(t, b, vhosttest.Options{})
		m, err := f.Ask(vhosttest.GetProtocolFeatures, nil)
		must(t, err)
		want := vhosttest.ProtocolMQ | vhosttest.ProtocolLogShmFD | vhosttest.ProtocolReplyAck |
			vhosttest.ProtocolBackendReq | vhosttest.ProtocolConfig | vhosttest.ProtocolInflight
		if slots {
			want |= vhosttest.ProtocolMemSlots
		}
		if m.U64() != want {
			t.Errorf("protocol features %#x, want %#x", m.U64(), want)
		}
		want = vhosttest.FeatureVersion1 | vhosttest.FeatureProtocol | vhosttest.FeaturePacked |
			vhosttest.FeatureEventIdx | vhosttest.FeatureIndirect | vhosttest.FeatureLogAll | featureMQ
		if f.Offered() != want {
			t.Errorf("features %#x, want %#x", f.Offered(), want)
		}
	}
}

// TestTrap11 : CONFIG_CHANGE asks for no reply and nobody waits for one; what was announced
// to a stopped machine is announced again when its rings are enabled.
func TestTrap11(t *testing.T) {
	d := newRAMDisk(t, 1<<20, 1)
	b := serve(t, d, vhostuser.Options{})
	f := connect(t, b, vhosttest.Options{})
	_, err := f.Capacity()
	must(t, err)
	must(t, f.Start())
	expectChange(t, f, false)

	d.resize(4096)
	b.ConfigChanged()
	expectChange(t, f, true) // never answered: and yet the session goes on
	if n, err := f.Capacity(); err != nil || n != 4096 {
		t.Fatalf("capacity %d, %v", n, err)
	}
	must(t, f.Stop())
	d.resize(8192)
	b.ConfigChanged()
	expectChange(t, f, true) // QEMU ignores this one
	must(t, f.Start())
	expectChange(t, f, true)
	expectChange(t, f, false)
	must(t, f.Reconnect(b.path)) // without GET_CONFIG
	expectChange(t, f, true)
	_, err = f.Capacity()
	must(t, err)
	must(t, f.Stop())
	must(t, f.Start())
	expectChange(t, f, false)

	must(t, f.CloseChannel()) // device_del
	b.ConfigChanged()
	b.ConfigChanged()
	must(t, f.Stop())
}

func expectChange(t *testing.T, f *vhosttest.FrontEnd, want bool) {
	t.Helper()
	timeout := 5 * time.Second
	if !want {
		timeout = short
	}
	m, err := f.FromBackend(timeout)
	must(t, err)
	if (m != nil) != want {
		t.Fatalf("a message on the backend channel: %v, want %v", m != nil, want)
	}
	if m != nil && (m.Request != vhosttest.ConfigChange || m.Flags != 1 || len(m.Payload) != 0) {
		t.Fatalf("%+v on the backend channel", m)
	}
}

// TestTrap12 : each call eventfd is written once when it arrives, and the ring is looked at
// when it starts, kick or no kick.
func TestTrap12(t *testing.T) { each(t, trap12) }

func trap12(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	b := serve(t, d, vhostuser.Options{})
	f := connect(t, b, o)
	called := func(when string) {
		t.Helper()
		if ok, err := f.Queue(0).WaitCall(5 * time.Second); err != nil || !ok {
			t.Fatalf("no interrupt %s: %v", when, err)
		}
	}
	must(t, f.SetCall(f.Queue(0)))
	called("before the start")
	must(t, f.Start())
	called("at the start")
	must(t, f.SetCall(f.Queue(0)))
	called("while the ring runs")
	must(t, f.Stop())

	disk := newDisk(t, f, 0, 4, page)
	r := disk.Get()
	r.Op, r.Len = vhosttest.OpRead, page
	must(t, disk.Submit(r))
	must(t, f.Prepare())
	must(t, f.StartRing(f.Queue(0)))
	_, err := unix.Read(f.Queue(0).KickFD(), make([]byte, 8)) // nobody kicks
	must(t, err)
	must(t, f.EnableAll(true))
	reap(t, disk, 1)
	must(t, f.Stop())
}
