package vhostuser_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// The test binary serves as a back end when childSocket is set, so that it can be killed.
const (
	childSocket = "VHOSTUSER_TEST_SOCKET"
	childData   = "VHOSTUSER_TEST_DATA" // the file that is the disk
	childHold   = "VHOSTUSER_TEST_HOLD" // every n-th sector stays in flight for ever
	childLedger = "VHOSTUSER_TEST_LEDGER"
	childSize   = 1 << 20
)

func serveChild() int {
	if err := runChild(); err != nil {
		fmt.Fprintln(os.Stderr, "back end:", err)
		return 1
	}
	return 0
}

func runChild() error {
	fd, err := unix.Open(os.Getenv(childData), unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	data, err := unix.Mmap(fd, 0, childSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	ledger, err := os.OpenFile(os.Getenv(childLedger), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	d := &ramDisk{data: data, queues: 2, gate: newGate(nil)}
	d.resize(childSize / sector)
	var every uint64
	_, _ = fmt.Sscan(os.Getenv(childHold), &every)
	if every > 0 {
		d.held = func(_ bool, sector uint64) bool { return sector%every == 0 }
	}
	var mu sync.Mutex
	d.ledger = func(sector uint64, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = ledger.Write(binary.LittleEndian.AppendUint64(nil, sector))
	}
	l, err := net.Listen("unix", os.Getenv(childSocket))
	if err != nil {
		return err
	}
	return vhostuser.NewServer(d, nil, vhostuser.Options{}).Serve(context.Background(), l)
}

// child is a back end in a process of its own.
type child struct {
	t                  *testing.T
	cmd                *exec.Cmd
	path, data, ledger string
}

func newChild(t *testing.T) *child {
	t.Helper()
	dir := t.TempDir()
	c := &child{
		t: t, path: filepath.Join(dir, "s"), data: filepath.Join(dir, "disk"), ledger: filepath.Join(dir, "ledger"),
	}
	must(t, os.WriteFile(c.data, make([]byte, childSize), 0o600))
	must(t, os.WriteFile(c.ledger, nil, 0o600))
	t.Cleanup(c.kill)
	return c
}

// start runs the process and waits until it listens; every hold-th sector stays in flight.
func (c *child) start(hold int) {
	c.t.Helper()
	_ = os.Remove(c.path)
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), childSocket+"="+c.path, childData+"="+c.data,
		childLedger+"="+c.ledger, fmt.Sprintf("%s=%d", childHold, hold))
	c.cmd.Stderr = os.Stderr
	must(c.t, c.cmd.Start())
	eventually(c.t, "the back end listens", func() bool {
		conn, err := net.Dial("unix", c.path)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// kill is kill -9.
func (c *child) kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.cmd = nil
}

// executions counts how often each sector's request was executed.
func (c *child) executions() map[uint64]int {
	p, err := os.ReadFile(c.ledger)
	must(c.t, err)
	n := map[uint64]int{}
	for ; len(p) >= 8; p = p[8:] {
		n[binary.LittleEndian.Uint64(p)]++
	}
	return n
}

// TestKilledWithRequestsInFlight kills a back end that has completed some requests of a
// batch, out of order: the next one executes exactly the others again, and loses none.
func TestKilledWithRequestsInFlight(t *testing.T) {
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("packed=%v", packed), func(t *testing.T) {
			c := newChild(t)
			c.start(3)
			f, err := vhosttest.Connect(c.path, vhosttest.Options{
				Packed: packed, EventIdx: true, Indirect: true, Inflight: true, QueueSize: 64,
			})
			must(t, err)
			defer func() { must(t, f.Close()) }()
			must(t, f.Start())
			disk := newDisk(t, f, 0, 60, sector)
			killRounds(t, c, f, disk)
		})
	}
}

func killRounds(t *testing.T, c *child, f *vhosttest.FrontEnd, disk *vhosttest.Disk) {
	t.Helper()
	const batch = 30
	for round := range 5 {
		first := uint64(2 + round*batch) // so that the last one, executed last, is not one that stays
		submit(t, disk, first, batch)
		var done []*vhosttest.Req
		for len(done) < batch*2/3 { // every third stays in flight
			var err error
			done, err = disk.Wait(done, disk.Timeout)
			must(t, err)
		}
		c.kill()
		c.start(0)
		must(t, f.Reconnect(c.path))
		for len(done) < batch {
			var err error
			done, err = disk.Wait(done, disk.Timeout)
			must(t, err)
		}
		judge(t, c, disk, done)
		must(t, f.Disconnect())
		c.kill()
		c.start(3)
		must(t, f.Reconnect(c.path))
	}
}

// submit writes one sector each, filled with its number.
func submit(t *testing.T, disk *vhosttest.Disk, first uint64, n int) {
	t.Helper()
	for i := range uint64(n) {
		r := disk.Get()
		r.Op, r.Sector, r.Len = vhosttest.OpWrite, first+i, sector
		fill(r.Data()[:sector], byte(first+i))
		must(t, disk.Submit(r))
	}
	disk.Kick()
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}

// judge looks at the requests of a round: each ended well, and was executed once if it had
// been completed before the kill and twice if not.
func judge(t *testing.T, c *child, disk *vhosttest.Disk, done []*vhosttest.Req) {
	t.Helper()
	times := c.executions()
	data, err := os.ReadFile(c.data)
	must(t, err)
	for _, r := range done {
		must(t, r.Err())
		want := 1
		if r.Sector%3 == 0 {
			want = 2
		}
		if times[r.Sector] != want {
			t.Errorf("sector %d was executed %d times, want %d", r.Sector, times[r.Sector], want)
		}
		if data[r.Sector*sector] != byte(r.Sector) {
			t.Errorf("sector %d is lost", r.Sector)
		}
		disk.Put(r)
	}
}
