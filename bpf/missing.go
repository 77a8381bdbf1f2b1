package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Missing says in one line what this kernel, this user or this process lacks, and what works
// without it.
type Missing struct {
	What  string // "the right to load eBPF programs (root, or CAP_BPF and CAP_PERFMON)"
	Still string // "belay top and /metrics work without it"
	Err   error  // what the kernel said; may be nil
}

func (m *Missing) Error() string { return "missing: " + m.What + "; " + m.Still }

func (m *Missing) Unwrap() error { return m.Err }

const (
	stillCounters = "belay top and /metrics work without it"
	stillPoints   = "everything else is traced without it"
	stillTraced   = "tracing works without it, bpftool does not find the maps by name"
	stillMemory   = "counters are kept in the process's own memory"
)

// tracefs and the two ways to a uprobe, looked at only once something has failed.
var (
	tracefsDirs = []string{"/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"}
	uprobePMU   = "/sys/bus/event_source/devices/uprobe"
)

func loadError(err error) error {
	return &Missing{whyNotLoaded(err), stillCounters, err}
}

func whyNotLoaded(err error) string {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) && os.Geteuid() != 0:
		return "the right to load eBPF programs (root, or CAP_BPF and CAP_PERFMON)"
	case errors.Is(err, unix.ENOSYS):
		return "eBPF in this kernel (CONFIG_BPF_SYSCALL)"
	case errors.Is(err, ebpf.ErrNotSupported) || errors.As(err, &verifier):
		return fmt.Sprintf("a kernel that takes our eBPF programs (6.1 or newer): %v", err)
	default:
		return fmt.Sprintf("eBPF: %v", err)
	}
}

// attachError says why the most important point could not be watched.
func attachError(o *Options, err error) error {
	m := &Missing{Still: stillCounters, Err: err}
	switch {
	case errors.Is(err, link.ErrNoSymbol):
		m.What = fmt.Sprintf("probe points in %s (stripped, older, or not belay)", o.Program)
	case errors.Is(err, unix.ESRCH):
		m.What = fmt.Sprintf("process %d", o.PID)
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		m.What = "the right to set uprobes (root, or CAP_PERFMON)"
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, link.ErrNotSupported) || !haveUprobes():
		m.What = "uprobes in this kernel (CONFIG_UPROBE_EVENTS, and tracefs or " + uprobePMU + ")"
	default:
		m.What = fmt.Sprintf("uprobes: %v", err)
	}
	return m
}

func haveUprobes() bool {
	for _, name := range append(tracefsDirs, uprobePMU) {
		if _, err := os.Stat(name); err == nil {
			return true
		}
	}
	return false
}
