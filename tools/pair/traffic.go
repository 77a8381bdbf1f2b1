package pair

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Traffic counts what goes over the link, by TCP port: the lower of a packet's two, which is the one
// that somebody listens at. A length is that of IPv4 packets, with their headers, as the sender's kernel
// made them; a network card cuts them smaller.
type Traffic struct {
	socket int
	counts *ebpf.Map
}

// ports is how many there are.
const ports = 1 << 16

// Count begins to count, both ways.
func (n *Net) Count() (t *Traffic, err error) {
	t = &Traffic{socket: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("count the link's bytes: %w", err), t.Close())
			t = nil
		}
	}()
	t.counts, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: ports})
	if err != nil {
		return t, err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL", Instructions: countBytes(t.counts.FD()),
	})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, program.Close()) }() // the socket has it by then
	err = within(n.namespace(wire), func() (err error) {
		t.socket, err = tap("to-" + B.String())
		return err
	})
	if err != nil {
		return t, err
	}
	return t, unix.SetsockoptInt(t.socket, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD())
}

// tap is a packet socket that sees what comes and goes at a device. It shows packets from their IP header.
func tap(device string) (int, error) {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		err = unix.IoctlIfreq(s, unix.SIOCGIFINDEX, request)
	}
	if err == nil {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order
		err = unix.Bind(s, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: int(request.Uint32())})
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(s))
	}
	return s, nil
}

// within runs f in a network namespace.
func within(namespace string, f func() error) error {
	target, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer target.Close()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and no other one runs on it
		err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// countBytes is a filter that adds a packet's length to its port's count, and takes none of it.
func countBytes(counts int) asm.Instructions {
	const (
		version, protocol, from, to = 0, 9, 20, 22 // offsets, in a header without options
		plain                       = 0x45         // IPv4, a header of 20 bytes
		lengthInContext             = 0            // struct __sk_buff
	)
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // where the loads expect the context
		asm.LoadAbs(version, asm.Byte),
		asm.JNE.Imm(asm.R0, plain, "out"),
		asm.LoadAbs(protocol, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "out"),
		asm.LoadAbs(from, asm.Half),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadAbs(to, asm.Half),
		asm.JGE.Reg(asm.R0, asm.R7, "lower"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word).WithSymbol("lower"),
		asm.LoadMapPtr(asm.R1, counts),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R6, lengthInContext, asm.Word),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// Bytes is what went over the link to and from a port since Count.
func (t *Traffic) Bytes(port int) (n uint64, err error) {
	err = t.counts.Lookup(uint32(port), &n)
	return n, err
}

// Close ends the count.
func (t *Traffic) Close() error {
	var errs []error
	if t.counts != nil {
		errs = append(errs, t.counts.Close())
	}
	if t.socket >= 0 {
		errs = append(errs, unix.Close(t.socket))
	}
	return errors.Join(errs...)
}
