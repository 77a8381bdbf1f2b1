package blk

import (
	"fmt"
	"runtime"
	"time"

	"github.com/belay-vm/belay/internal/aio"
)

// Bounds of Options.
const (
	MaxQueues = 256
	MaxDepth  = 4096
	// MaxSegments leaves room for header and status in the longest chain that vhostuser takes.
	MaxSegments = 1022
)

const (
	defaultDepth = 256
	// defaultSegments fits QEMU's default ring of 128 entries, with header and status.
	defaultSegments = 126
	// defaultDiscard is 1 GiB.
	defaultDiscard = 1 << 21

	spinTime = 50 * time.Microsecond
	spinCPUs = 4
)

// Options are a device's choices. A zero value stands for the default.
type Options struct {
	Queues  int    // default 1
	Depth   int    // requests in flight per queue; default 256
	SegMax  int    // data pieces per request told to the guest; default 126
	SizeMax uint32 // bytes of a piece told to the guest; default: no bound told
	// DiscardSectors bounds one range of a discard or write-zeroes request; default 1 GiB.
	DiscardSectors uint32
	Serial         string // at most SerialSize characters of ASCII

	Engine aio.Kind // default io_uring; aio.Pick chooses
	// Spin is the longest time that an idle worker goes on looking at its ring before it sleeps.
	// It spins only while requests come that fast. Default 0: never; see SpinTime.
	Spin time.Duration
	// SpinDevice is the same for a worker that waits for the end of what it gave to the device
	// below. Default 0: never; see SpinDeviceTime.
	SpinDevice time.Duration

	// Fence guards against another server's taking over; nil where nobody can.
	Fence Fence

	// Volume is the number by which probe points name the device; 0 for the first of a process.
	Volume uint64
	// Count and Latency are memory for what the queues count, CountSize and LatencySize bytes for
	// each of them, zeroed, for whoever looks from outside. Default: the device's own.
	Count, Latency []byte
}

// SpinDeviceTime is the Options.SpinDevice that suits any machine. A worker that sleeps is woken by
// an interrupt, which takes about as long (25 to 40 µs in a virtual machine, on each side) and as much
// of a CPU as to spin; whoever else wants the CPU gets it meanwhile (blk/idle.go).
const SpinDeviceTime = 100 * time.Microsecond

// SpinTime is the Options.Spin that suits this machine: none where a spinning worker would take a
// processor that the guest needs.
func SpinTime() time.Duration {
	if runtime.NumCPU() < spinCPUs {
		return 0
	}
	return spinTime
}

// OptionError says which option of a device cannot be.
type OptionError struct {
	Option string
	Value  any
	Want   string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("%s %v: want %s", e.Option, e.Value, e.Want)
}

// withDefaults fills in what was left out and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	for _, n := range []struct {
		name    string
		value   *int
		def, to int
	}{
		{"number of queues", &o.Queues, 1, MaxQueues},
		{"requests per queue", &o.Depth, defaultDepth, MaxDepth},
		{"segments per request", &o.SegMax, defaultSegments, MaxSegments},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < 0 || *n.value > n.to {
			return o, &OptionError{n.name, *n.value, fmt.Sprintf("1 to %d", n.to)}
		}
	}
	if o.DiscardSectors == 0 {
		o.DiscardSectors = defaultDiscard
	}
	if o.Engine == "" {
		o.Engine = aio.Uring
	}
	if len(o.Serial) > SerialSize || !printable(o.Serial) {
		return o, &OptionError{"serial", fmt.Sprintf("%q", o.Serial),
			fmt.Sprintf("at most %d printable ASCII characters", SerialSize)}
	}
	return o.withCounters()
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
