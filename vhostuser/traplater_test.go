package vhostuser_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

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
	expectChange(t, f, true) // QEMU ignores this one, and so it is repeated until it is read
	for range 2 {
		must(t, f.Start())
		expectChange(t, f, true)
		expectChange(t, f, false)
		must(t, f.Stop())
	}
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
	callReplaced(t, f)
	must(t, f.Stop())

	must(t, f.SetCall(f.Queue(0)))
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

// callReplaced gives a running ring another call eventfd, which is written at once.
func callReplaced(t *testing.T, f *vhosttest.FrontEnd) {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	must(t, err)
	defer func() { must(t, unix.Close(fd)) }()
	must(t, f.Tell(vhosttest.SetVringCall, u64(0), fd))
	if !poll(5*time.Second, fd)[0] {
		t.Fatal("no interrupt while the ring runs")
	}
}
