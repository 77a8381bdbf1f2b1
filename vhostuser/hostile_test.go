package vhostuser_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

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

// hostile is a message that ends the session, and the beginning of the reason.
type hostile struct {
	request uint32
	payload []byte
	fds     int // eventfds
	want    string
}

// hostileRings are messages about rings.
func hostileRings() []hostile {
	addr := func(index uint32, desc uint64) []byte {
		return bytes.Join([][]byte{u32s(index, 0), u64(desc), u64(desc), u64(desc), u64(0)}, nil)
	}
	return []hostile{
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
	}
}

// hostileRegions are messages about memory and other shared files.
func hostileRegions() []hostile {
	table := func(n uint64, regions int) []byte { return append(u64(n), make([]byte, 32*regions)...) }
	region := func(first, gpa, size, off uint64) []byte {
		return bytes.Join([][]byte{u64(first), u64(gpa), u64(size), u64(0), u64(off)}, nil)
	}
	inflight := func(size uint64, queues, queueSize uint32) []byte {
		return bytes.Join([][]byte{u64(size), u64(0), u32s(queues | queueSize<<16)}, nil)
	}
	return []hostile{
		{vhosttest.SetMemTable, table(9, 9), 8, "SET_MEM_TABLE: number of regions 0x9"},
		{vhosttest.SetMemTable, table(1<<32-1, 8), 8, "SET_MEM_TABLE: number of regions 0xffffffff"},
		{vhosttest.SetMemTable, table(2, 1), 2, "SET_MEM_TABLE: number of regions 0x2"},
		{vhosttest.SetMemTable, table(2, 2), 1, "SET_MEM_TABLE: file descriptors 0x1"},
		{vhosttest.SetMemTable, region(1, 0, 1<<40, 0), 1, "SET_MEM_TABLE: regions 0x1"},
		{vhosttest.AddMemReg, region(0, 4096, 1<<63, 1<<63), 1, "ADD_MEM_REG: guest address 0x1000"},
		{vhosttest.AddMemReg, make([]byte, 40), 2, "ADD_MEM_REG: file descriptors 0x2"},
		{vhosttest.RemMemReg, region(0, 4096, 4096, 0), 0, "REM_MEM_REG: guest address 0x1000"},
		{vhosttest.SetLogBase, append(u64(1<<62), u64(0)...), 1, "SET_LOG_BASE: size 0x4000000000000000"},
		{vhosttest.SetLogBase, append(u64(64), u64(1<<63)...), 1, "SET_LOG_BASE: size 0x40"},
		{vhosttest.GetConfig, make([]byte, 11), 0, "GET_CONFIG: size 0xb"},
		{vhosttest.GetInflightFD, inflight(0, 257, 128), 0, "GET_INFLIGHT_FD: queues 0x101"},
		{vhosttest.GetInflightFD, inflight(0, 1, 40000), 0, "GET_INFLIGHT_FD: queue size 0x9c40"},
		{vhosttest.SetInflightFD, inflight(64, 1, 128), 0, "SET_INFLIGHT_FD: file descriptors 0x0"},
		{vhosttest.SetInflightFD, inflight(64, 1, 128), 1, "SET_INFLIGHT_FD: size 0x40"},
		{vhosttest.SetOwner, make([]byte, 4097), 0, "SET_OWNER: size 0x1001"},
	}
}

// TestHostileMessages : each of these ends the session with an error that names message,
// field and value; nothing crashes, hangs or stays open.
func TestHostileMessages(t *testing.T) {
	for _, c := range append(hostileRings(), hostileRegions()...) {
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

// TestFullPipe : a call descriptor to which nothing can be written does not stop the session.
func TestFullPipe(t *testing.T) {
	f, result := pair(t, newRAMDisk(t, 1<<20, 1), vhosttest.Options{Bare: true})
	var p [2]int
	must(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	for n, err := 1, error(nil); err == nil && n > 0; {
		n, err = unix.Write(p[1], make([]byte, page))
	}
	must(t, unix.SetNonblock(p[1], false))
	must(t, f.Tell(vhosttest.SetVringCall, u64(0), p[1]))
	var me *vhostuser.MessageError
	if err := <-result; !errors.As(err, &me) {
		t.Error(err)
	}
	must(t, errors.Join(unix.Close(p[0]), unix.Close(p[1])))
}

func openFDs(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(es)
}
