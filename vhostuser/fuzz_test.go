package vhostuser_test

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// A fuzz input is a program: each step is a request or, for stepPoke, a write to the memory
// that the program's messages lend.
const (
	stepPoke     = 0xff
	stepHeader   = 4 // request, flags and kinds of descriptors, length of the payload
	fuzzMemory   = 64 << 10
	fuzzSteps    = 200
	fuzzDeadline = 20 * time.Second
)

// FuzzSession runs any program of messages and memory contents against a live session: the
// session ends, whatever it was told, and nothing crashes.
func FuzzSession(f *testing.F) {
	for _, packed := range []bool{false, true} {
		f.Add(bootProgram(packed))
	}
	f.Fuzz(func(t *testing.T, program []byte) { runProgram(t, program) })
}

// TestBootProgram : the programs that the fuzzer starts from get as far as a request.
func TestBootProgram(t *testing.T) {
	for _, packed := range []bool{false, true} {
		if d := runProgram(t, bootProgram(packed)); d.executed.Load() != 1 {
			t.Errorf("packed=%v: %d requests executed, want 1", packed, d.executed.Load())
		}
	}
}

// runProgram serves a program and returns the device when the session has ended.
func runProgram(t *testing.T, program []byte) *ramDisk {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	front, back := unixConn(t, fds[0]), unixConn(t, fds[1])
	d := newRAMDisk(t, 1<<20, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := vhostuser.NewServer(d, nil, vhostuser.Options{MemSlots: true})
		t.Log(s.ServeConn(context.Background(), back)) // an error is the usual end
	}()
	go drain(front)
	perform(t, front, program)
	_ = front.CloseWrite()
	select {
	case <-done:
	case <-time.After(fuzzDeadline):
		t.Fatal("the session does not end")
	}
	_ = front.Close()
	return d
}

func unixConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "pair")
	defer func() { _ = file.Close() }()
	c, err := net.FileConn(file)
	must(t, err)
	return c.(*net.UnixConn)
}

func drain(c *net.UnixConn) {
	p, oob := make([]byte, 4096), make([]byte, 256)
	for {
		_, n, _, _, err := c.ReadMsgUnix(p, oob)
		if msgs, e := unix.ParseSocketControlMessage(oob[:n]); e == nil {
			for i := range msgs {
				fds, _ := unix.ParseUnixRights(&msgs[i])
				(&vhosttest.Message{FDs: fds}).CloseFDs()
			}
		}
		if err != nil {
			return
		}
	}
}

// perform sends the program's steps.
func perform(t *testing.T, c *net.UnixConn, p []byte) {
	t.Helper()
	mem, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	must(t, err)
	defer func() { must(t, unix.Close(mem)) }()
	must(t, unix.Ftruncate(mem, fuzzMemory))
	event, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	must(t, err)
	defer func() { must(t, unix.Close(event)) }()
	for range fuzzSteps {
		if len(p) < stepHeader {
			return
		}
		request, flags, fds, n := p[0], p[1], p[2], int(p[3])
		p = p[stepHeader:]
		n = min(n, len(p))
		payload := p[:n]
		p = p[n:]
		if request == stepPoke {
			poke(mem, payload)
			continue
		}
		head := u32s(uint32(request), uint32(flags), uint32(n))
		rights := unix.UnixRights(pick(fds, event, mem)...)
		if _, _, err := c.WriteMsgUnix(append(head, payload...), rights, nil); err != nil {
			return
		}
	}
}

// poke writes to guest memory: two bytes of offset in units of 2, then the content.
func poke(mem int, p []byte) {
	if len(p) > 2 {
		off := int64(binary.LittleEndian.Uint16(p)) * 2 % fuzzMemory
		_, _ = unix.Pwrite(mem, p[2:], off)
	}
}

// pick makes up to three descriptors from pairs of bits: none, the eventfd, memory, a socket.
func pick(kinds byte, event, mem int) []int {
	var fds []int
	for ; kinds != 0 && len(fds) < 3; kinds >>= 2 {
		switch kinds & 3 {
		case 1:
			fds = append(fds, event)
		case 2:
			fds = append(fds, mem)
		case 3:
			fds = append(fds, 0)
		}
	}
	return fds
}

// bootProgram is an honest start of one ring with one request in it.
func bootProgram(packed bool) []byte {
	var p []byte
	step := func(request, flags, fds byte, payload ...[]byte) {
		var all []byte
		for _, b := range payload {
			all = append(all, b...)
		}
		p = append(p, request, flags, fds, byte(len(all)))
		p = append(p, all...)
	}
	bits := vhosttest.FeatureVersion1 | vhosttest.FeatureProtocol | vhosttest.FeatureIndirect |
		vhosttest.FeatureEventIdx | vhosttest.FeatureLogAll
	base := uint32(0)
	if packed {
		bits, base = bits|vhosttest.FeaturePacked, 0x80008000
	}
	step(vhosttest.GetFeatures, 1, 0)
	step(vhosttest.SetOwner, 1, 0)
	step(vhosttest.SetFeatures, 9, 0, u64(bits))
	step(vhosttest.GetInflightFD, 1, 0, u64(0), u64(0), u32s(1|8<<16))
	step(vhosttest.AddMemReg, 9, 2, u64(0), u64(0), u64(fuzzMemory), u64(1<<40), u64(0))
	step(vhosttest.SetVringNum, 1, 0, u32s(0, 8))
	step(vhosttest.SetVringBase, 1, 0, u32s(0, base))
	step(vhosttest.SetVringAddr, 1, 0, u32s(0, 1), u64(1<<40), u64(1<<40|0x2000), u64(1<<40|0x1000), u64(0x2000))
	step(vhosttest.SetVringCall, 1, 1, u64(0))
	// A descriptor that the device reads, one that it writes, and their place in the ring.
	flags := func(split, packedFlags uint32) uint32 {
		if packed {
			return packedFlags << 16
		}
		return split
	}
	step(stepPoke, 0, 0, []byte{0, 0}, u64(0x4000), u32s(16, flags(1|1<<16, 0x81)),
		u64(0x5000), u32s(513, flags(2, 0x82)))
	step(stepPoke, 0, 0, []byte{0, 8}, u32s(1<<16, 0))
	step(vhosttest.SetVringKick, 1, 1, u64(0))
	step(vhosttest.SetLogBase, 1, 2, u64(64), u64(0x8000))
	step(vhosttest.SetVringEnable, 1, 0, u32s(0, 1))
	step(vhosttest.RemMemReg, 9, 0, u64(0), u64(0), u64(fuzzMemory), u64(1<<40), u64(0))
	step(vhosttest.SetVringEnable, 1, 0, u32s(0, 0))
	step(vhosttest.GetVringBase, 1, 0, u32s(0, 0))
	return p
}
