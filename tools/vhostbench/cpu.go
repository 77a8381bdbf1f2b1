package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// tickNs is the unit of /proc/PID/stat: USER_HZ is 100 on every architecture that Go knows.
const tickNs = 10_000_000

// spent is processor time in nanoseconds.
type spent struct{ user, sys int64 }

func (s spent) minus(t spent) spent { return spent{s.user - t.user, s.sys - t.sys} }

// process reads the processor time of another process. The zero process has used none.
type process struct {
	stat *os.File
	buf  [1024]byte
}

func openProcess(pid int) (*process, error) {
	if pid == 0 {
		return &process{}, nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return &process{stat: f}, nil
}

func (p *process) close() {
	if p.stat != nil {
		_ = p.stat.Close()
	}
}

// spent is utime and stime (proc_pid_stat(5)). The name before them may hold anything, so they
// are counted from the parenthesis that ends it.
func (p *process) spent() (spent, error) {
	if p.stat == nil {
		return spent{}, nil
	}
	n, err := p.stat.ReadAt(p.buf[:], 0)
	if n == 0 {
		return spent{}, fmt.Errorf("processor time of the back end: %w", err)
	}
	line := p.buf[:n]
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 13 {
		return spent{}, fmt.Errorf("processor time of the back end: %q", line)
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	sys, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return spent{}, fmt.Errorf("processor time of the back end: %q", line)
	}
	return spent{user * tickNs, sys * tickNs}, nil
}

// threadSpent is the calling thread's own processor time.
func threadSpent() (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("processor time of a thread: %w", err)
	}
	return t.Nano(), nil
}

// pin keeps the calling thread on one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin a thread to CPU %d: %w", cpu, err)
	}
	return nil
}
