package pair

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belay-vm/belay/qmp"
)

// What has to be left unsent to say that a machine's memory is on its way, in bytes. At a checkpoint the
// state of its devices comes behind it, which is far less than that; before the first one there is nothing
// else, but a connection that nobody has read from takes little.
const (
	leastUnsent      = 1 << 20
	leastUnsentFirst = 64 << 10
)

// HoldMemory stops the process of the secondary s while m's memory is on its way to it, in one of the next
// checkpoints. The guest has to write to so much of it that the sockets' buffers do not take it. port is
// what s awaits its guest at. GoOn lets the process go on.
func (m *Machine) HoldMemory(ctx context.Context, s *Machine, port int) error {
	for mark := m.Events.Len(); ; {
		var err error
		if mark, err = m.Events.Await(ctx, mark, qmp.EventStop); err != nil {
			return err
		}
		if held, err := m.hold(ctx, s, port, mark, leastUnsent); held || err != nil {
			return err
		}
	}
}

// HoldFirstMemory is HoldMemory for what is sent while the guest runs, before the first checkpoint.
func (m *Machine) HoldFirstMemory(ctx context.Context, s *Machine, port int) error {
	held, err := m.hold(ctx, s, port, m.Events.Len(), leastUnsentFirst)
	if err == nil && !held {
		err = fmt.Errorf("%v has its first memory already", s.side.ID)
	}
	return err
}

// GoOn undoes what held the machine's process.
func (m *Machine) GoOn() error { return syscall.Kill(m.PID(), syscall.SIGCONT) }

// hold stops s, and waits until m has at least so much to send that the connection does not take. If m goes
// on instead, nothing is on its way any more, and s is not held.
func (m *Machine) hold(ctx context.Context, s *Machine, port, mark int, least int64) (held bool, err error) {
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		return false, err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for last := int64(-1); ; {
		n, err := unsent(m.PID(), port)
		if err != nil || n >= least && n == last {
			return true, err
		}
		last = n
		for _, e := range m.Events.All()[mark:] {
			if e.Name == qmp.EventResume {
				return false, s.GoOn()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return true, fmt.Errorf("%d bytes of the memory are unsent, want %d: %w", n, least, ctx.Err())
		}
	}
}

// unsent is how many bytes a process's network has queued for a port of somebody else's, as the kernel
// tells (proc_net_tcp: number, address and port of either end, the state, the queues).
func unsent(pid, port int) (most int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return 0, err
	}
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 5 || !strings.HasSuffix(words[2], suffix) {
			continue
		}
		queue, _, _ := strings.Cut(words[4], ":")
		n, err := strconv.ParseInt(queue, 16, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
		most = max(most, n)
	}
	return most, nil
}
