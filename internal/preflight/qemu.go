package preflight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/qmp"
)

// Commands of QEMU that a pair cannot do without. The first one belongs to COLO.
var needed = []string{
	"x-colo-lost-heartbeat", "query-colo-status", "yank", "migrate", "migrate-set-capabilities",
}

// Monitor looks at sockets that nobody has connected to yet, and at the QEMU behind them. It is for one
// that no other belay watches: a QMP socket serves one client.
func Monitor(ctx context.Context, s qmp.Sockets, secondary bool) []pairview.Finding {
	const what = "monitor"
	c, err := qmp.Dial(ctx, s)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return []pairview.Finding{{What: what, Result: pairview.Unknown,
			Says: "QEMU is not there yet: nothing can be told of it"}}
	case errors.Is(err, qmp.ErrNotQMP):
		return []pairview.Finding{missing(what, err.Error(),
			"--qmp wants sockets of -qmp unix:PATH,server=on,wait=off")}
	case errors.Is(err, qmp.ErrSockets):
		return []pairview.Finding{missing(what, err.Error(), "give two sockets of one QEMU, or one")}
	case errors.Is(err, context.DeadlineExceeded):
		return []pairview.Finding{missing(what, "QEMU says nothing: "+err.Error(),
			"such a socket serves one client: give belay one of its own")}
	case err != nil:
		return []pairview.Finding{missing(what, err.Error(), "")}
	}
	found := QEMU(ctx, c, secondary)
	if err := c.Close(); err != nil {
		found = append(found, note(what, "closing: "+err.Error(), ""))
	}
	return found
}

// QEMU looks at a QEMU that is connected, as the one of a primary or of a secondary. It asks and changes
// nothing.
func QEMU(ctx context.Context, c *qmp.Client, secondary bool) []pairview.Finding {
	q := &qemu{ctx, c}
	found := []pairview.Finding{q.monitor(), q.process(), q.commands(), q.capability(), q.machine()}
	found = append(found, q.memory()...)
	found = append(found, q.accelerator(), q.state(secondary))
	if secondary {
		found = append(found, q.yank(), q.waits())
	}
	return found
}

type qemu struct {
	ctx context.Context
	*qmp.Client
}

func (q *qemu) monitor() pairview.Finding {
	if !q.OOB() {
		return missing("monitor", "it takes no out-of-band commands",
			"give belay a -qmp socket of its own, not one that several share (mux)")
	}
	return ok("monitor", "QEMU "+q.Version().String()+", with out-of-band commands")
}

// process looks whether belay could end QEMU, which it has to when the other side serves.
func (q *qemu) process() pairview.Finding {
	const what, do = "process", "run QEMU and belay in one PID namespace, as the same user or belay as root"
	pid := q.PID()
	fd, err := unix.PidfdOpen(pid, 0)
	if pid == 0 || err != nil {
		return missing(what, "QEMU's process cannot be seen from here", do)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	err = unix.PidfdSendSignal(fd, 0, nil, 0) // only asks whether it may
	runtime.KeepAlive(file)
	if err != nil {
		return missing(what, fmt.Sprintf("belay may not end process %d: %v", pid, err), do)
	}
	return ok(what, fmt.Sprintf("%d, which belay can end", pid))
}

func (q *qemu) commands() pairview.Finding {
	const what = "commands"
	have, err := q.QueryCommands(q.ctx)
	if err != nil {
		return unknown(what, err)
	}
	for _, name := range needed {
		if !slices.Contains(have, name) {
			return missing(what, "this QEMU does not know "+name,
				"take one that was built with COLO, 7.2 or newer")
		}
	}
	return ok(what, "all that are needed")
}

func (q *qemu) capability() pairview.Finding {
	list, err := q.QueryCapabilities(q.ctx)
	if err != nil {
		return unknown(qmp.CapabilityColo, err)
	}
	for _, c := range list {
		if c.Name == qmp.CapabilityColo {
			return ok(qmp.CapabilityColo, "this QEMU has COLO")
		}
	}
	return missing(qmp.CapabilityColo, "this QEMU was built without COLO", "take one that has it")
}

func (q *qemu) machine() pairview.Finding {
	const what, do = "machine", "use -M pc on both sides"
	name, err := q.MachineType(q.ctx)
	switch {
	case err != nil:
		return unknown(what, err)
	case strings.HasPrefix(name, "pc-i440fx-"):
		return ok(what, name)
	case strings.HasPrefix(name, "pc-q35-"):
		return missing(what, name+": a secondary of this type aborts at the first checkpoint", do)
	}
	return missing(what, name+": COLO is known to work with the type pc only", do)
}

// memory looks whether belay can map the guest's memory, and how much there is.
func (q *qemu) memory() []pairview.Finding {
	const what = "memory"
	backend, err := q.MachineBackend(q.ctx)
	if err != nil {
		return []pairview.Finding{unknown(what, err)}
	}
	list, err := q.QueryMemdev(q.ctx)
	if err != nil {
		return []pairview.Finding{unknown(what, err)}
	}
	used, id := list, filepath.Base(backend)
	if backend != "" {
		used = slices.DeleteFunc(list, func(m qmp.Memdev) bool { return m.ID != id })
	}
	found := []pairview.Finding{shared(used)}
	m, err := q.QueryMachineMemory(q.ctx)
	switch {
	case err != nil:
		found = append(found, unknown("slots", err))
	case m.Slots > 0:
		found = append(found, note("slots", fmt.Sprintf("%d for memory that is plugged in later", m.Slots),
			"leave slots= and maxmem= away: memory that one side plugs in ends the pair"))
	default:
		found = append(found, ok("slots", "none"))
	}
	return found
}

func shared(used []qmp.Memdev) pairview.Finding {
	const do = "-object memory-backend-memfd,id=mem,size=...,share=on and -M pc,memory-backend=mem"
	var all uint64
	for _, m := range used {
		if !m.Share {
			return missing("memory", fmt.Sprintf("%q is not shared", m.ID), do)
		}
		all += m.Size
	}
	if all == 0 {
		return missing("memory", "there is no backend", do)
	}
	return ok("memory", fmt.Sprintf("%d MiB, shared", all>>20))
}

func (q *qemu) accelerator() pairview.Finding {
	k, err := q.QueryKVM(q.ctx)
	switch {
	case err != nil:
		return unknown("accelerator", err)
	case !k.Enabled:
		return note("accelerator", "KVM is not used",
			"without it QEMU 7.2 hangs under COLO and loses memory: only for tests (docs/TESTING.md)")
	}
	return ok("accelerator", "KVM")
}

// state looks whether QEMU does what its side does.
func (q *qemu) state(secondary bool) pairview.Finding {
	const what = "state"
	s, err := q.QueryStatus(q.ctx)
	waits := s.Status == qmp.StatusInMigrate
	switch {
	case err != nil:
		return unknown(what, err)
	case secondary && !waits:
		return missing(what, s.Status+": a secondary's QEMU waits for a guest",
			"start a new one with -S -incoming tcp:HOST:PORT")
	case !secondary && waits:
		return missing(what, s.Status+": the primary's QEMU has the guest", "start it without -incoming")
	}
	return ok(what, s.Status)
}

// yank looks whether the migration that QEMU waits for can be cut: then it listens for it, too.
func (q *qemu) yank() pairview.Finding {
	list, err := q.QueryYank(q.ctx)
	if err != nil {
		return unknown("incoming", err)
	}
	for _, i := range list {
		if i.Type == qmp.YankMigration {
			return ok("incoming", "QEMU listens for the guest, and can be cut off")
		}
	}
	return missing("incoming", "QEMU listens for no guest", "-incoming tcp:HOST:PORT, not -incoming defer")
}

// waits looks for -S, which no command of QEMU's tells.
func (q *qemu) waits() pairview.Finding {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(q.PID()) + "/cmdline")
	if err != nil {
		return unknown("-S", err)
	}
	args := bytes.Split(text, []byte{0})
	switch {
	case !bytes.Contains(args[0], []byte("qemu")):
		return unknown("-S", fmt.Errorf("process %d is called %.40q", q.PID(), args[0]))
	case !slices.ContainsFunc(args, func(a []byte) bool { return strings.TrimLeft(string(a), "-") == "S" }):
		return missing("-S", "it is not among QEMU's arguments",
			"add it: the guest is not to run before COLO lets it")
	}
	return ok("-S", "given")
}
