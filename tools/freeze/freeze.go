// Package freeze stops a process at the entry of one of its functions, for tests that let a host
// die in the middle of something.
//
//	trap, err := freeze.At(pid, "bin/belay", module+"/internal/pair.(*Pair).seal", 3)
//	err = trap.Wait(ctx)      // the third call of it has begun, and nothing else of the process runs
//	_ = unix.Kill(pid, unix.SIGKILL) // or freeze.Continue(pid)
//
// The product knows nothing of it: an eBPF program of some instructions at a uprobe counts the
// calls and sends SIGSTOP to who calls. That the process stands still, and is not dead, lets a
// test kill what else is to die with it first: nothing sees one die before the other. Root rights
// are needed.
package freeze

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ErrEnded says that a process has ended before it came to its trap.
var ErrEnded = errors.New("the process has ended")

// Trap stops a process once.
type Trap struct {
	pid   int
	place string
	count *ebpf.Map
	probe link.Link
}

// At makes a child process of this one stop when it enters a function for the n-th time from now on,
// at least the first. program is its file. The function is named as the linker does; one that is inlined
// everywhere has no name, or is never entered; one whose stack has to grow is entered twice for one call.
func At(pid int, program, function string, n int) (*Trap, error) {
	t := &Trap{pid: pid, place: function}
	if err := t.set(program, n); err != nil {
		t.Close()
		return nil, fmt.Errorf("a trap at %s: %w", function, err)
	}
	return t, nil
}

func (t *Trap) set(program string, n int) (err error) {
	_ = rlimit.RemoveMemlock() // kernels before 5.11 need it; there is nothing to do if it fails
	t.count, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Kprobe, License: "GPL", Instructions: instructions(t.count.FD(), n),
	})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }() // the probe has it
	file, err := link.OpenExecutable(program)
	if err != nil {
		return err
	}
	t.probe, err = file.Uprobe(t.place, p, &link.UprobeOptions{PID: t.pid})
	return err
}

// instructions count a call, and stop who makes the n-th.
func instructions(count, n int) asm.Instructions {
	const end = "end"
	fetchAdd := asm.FetchAdd.Mem(asm.R2, asm.R1, asm.DWord, 0)
	fetchAdd.Constant = 1 // BPF_FETCH, which cilium/ebpf 0.22 forgets to write
	return asm.Instructions{
		asm.LoadMapValue(asm.R2, count, 0),
		asm.Mov.Imm(asm.R1, 1),
		fetchAdd,
		asm.JNE.Imm(asm.R1, int32(n)-1, end),
		asm.Mov.Imm(asm.R1, int32(unix.SIGSTOP)),
		asm.FnSendSignal.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(end),
		asm.Return(),
	}
}

// Lacking are those functions that a program has no symbols of.
func Lacking(program string, functions []string) (lacks []string, err error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	has := map[string]bool{}
	for _, s := range symbols {
		has[s.Name] = true
	}
	for _, f := range functions {
		if !has[f] {
			lacks = append(lacks, f)
		}
	}
	return lacks, nil
}

// Wait waits until the process stands still in its trap. It returns ErrEnded if it ends instead.
func (t *Trap) Wait(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() { stopped <- awaitStop(t.pid) }()
	select {
	case err := <-stopped:
		if err != nil {
			return fmt.Errorf("%s: %w", t.place, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s was entered %d times: %w", t.place, t.Calls(), ctx.Err())
	}
}

// awaitStop looks at a child's state and leaves it for whoever waits for the child's end.
func awaitStop(pid int) error {
	const stopped = 5 // CLD_STOPPED
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD || err == nil && info.Code != stopped:
			return ErrEnded
		default:
			return err
		}
	}
}

// Calls is how often the function was entered.
func (t *Trap) Calls() (n uint64) {
	_ = t.count.Lookup(uint32(0), &n) // an array has its elements
	return n
}

// Continue has a process go on that stands still.
func Continue(pid int) error { return unix.Kill(pid, unix.SIGCONT) }

// Close takes the trap away. A process that stands still in it remains so.
func (t *Trap) Close() {
	if t.probe != nil {
		_ = t.probe.Close() // nothing depends on it: it was to stop the process once
	}
	if t.count != nil {
		_ = t.count.Close()
	}
}
