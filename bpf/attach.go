package bpf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Options say what to watch.
type Options struct {
	PID      int           // the process
	Program  string        // its program, with symbols; "": /proc/PID/exe
	Volume   uint64        // the number of its device, 0 for the first
	Name     string        // of the pins' directory (PinDir); "": nothing is pinned
	Outliers time.Duration // requests that took at least this long are events; 0: none
	Kernel   bool          // watch io_uring and block requests of the process, too
	Signals  bool          // count kicks and notifications, too: 0.3 us for each of them
	Pin      bool          // pin the links, too: counting goes on without us until Unpin
}

// Tracer watches one volume of one process until it is closed, or its process ends.
type Tracer struct {
	points *ebpf.Collection
	kernel *ebpf.Collection // nil: the kernel's side is not watched
	links  map[string]link.Link
	pins   *pins // nil: nothing is pinned
	keep   bool  // pins outlive the tracer
	notes  []string

	done context.Context // ends with Close; that of nobody's call
	stop context.CancelFunc
}

// pointPrefix is what the symbol of a point has before the name of the program on it.
const pointPrefix = "belay_"

// The points but the one without which nothing works, traceProgRequests. Signals come once for
// each batch, and a batch may be a single request: so they must be asked for.
var (
	signals = []string{traceProgKick, traceProgNotify}
	points  = []string{
		traceProgFlush, traceProgCheckpointStart, traceProgCheckpointSealed, traceProgCheckpointRetired,
		traceProgRollback, traceProgResubmit, traceProgMirrorSend, traceProgMirrorAck,
	}
)

// config is struct config of c/types.h.
type config struct {
	OutlierNs uint64
	Volume    uint64
	TGID      uint32
	_         uint32
}

// Attach begins to watch. It counts from the moment it returns; the process is not stopped and
// need not know. Without what is indispensable the error is a *Missing; what else is missing is in
// Notes.
func Attach(o Options) (*Tracer, error) {
	if o.Program == "" {
		o.Program = fmt.Sprintf("/proc/%d/exe", o.PID)
	}
	if err := unix.Kill(o.PID, 0); o.PID <= 0 || errors.Is(err, unix.ESRCH) {
		return nil, &Missing{fmt.Sprintf("process %d", o.PID), stillCounters, err}
	}
	t := &Tracer{links: map[string]link.Link{}}
	t.done, t.stop = context.WithCancel(context.Background())
	if err := t.attach(&o); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracer) attach(o *Options) error {
	if err := t.load(o); err != nil {
		return err
	}
	if o.Kernel {
		t.attachKernel()
	}
	if err := t.attachPoints(o); err != nil {
		return err
	}
	return t.pin(o)
}

func (t *Tracer) load(o *Options) error {
	// Kernels before 5.11 count maps as locked memory; there is nothing to do if this fails.
	_ = rlimit.RemoveMemlock()
	spec, err := loadTrace()
	if err != nil {
		return err
	}
	if t.points, err = ebpf.NewCollection(spec); err != nil {
		return loadError(err)
	}
	c := config{OutlierNs: uint64(max(o.Outliers, 0)), Volume: o.Volume}
	if inFirstNamespace() {
		c.TGID = uint32(o.PID)
	}
	return t.points.Maps[traceMapConfig].Put(uint32(0), c)
}

// inFirstNamespace says whether our process numbers are the kernel's own. Otherwise the programs
// learn the number when the process first passes a point.
func inFirstNamespace() bool {
	const first = "pid:[4026531836]" // PROC_PID_INIT_INO
	name, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && name == first
}

func (t *Tracer) attachPoints(o *Options) error {
	program, err := link.OpenExecutable(o.Program)
	if err != nil {
		return attachError(o, err)
	}
	// Requests are counted last, so that nothing that belongs to them is missed.
	names := points
	if o.Signals {
		names = append(names[:len(names):len(names)], signals...)
	}
	for _, name := range names {
		if err := t.attachPoint(program, name, o.PID); err != nil {
			t.note(&Missing{"probe point " + pointPrefix + name, stillPoints, err})
		}
	}
	if err := t.attachPoint(program, traceProgRequests, o.PID); err != nil {
		return attachError(o, err)
	}
	return nil
}

func (t *Tracer) attachPoint(program *link.Executable, name string, pid int) error {
	l, err := program.Uprobe(pointPrefix+name, t.points.Programs[name], &link.UprobeOptions{PID: pid})
	if err == nil {
		t.links[name] = l
	}
	return err
}

func (t *Tracer) note(m *Missing) { t.notes = append(t.notes, m.Error()) }

// Notes say what could not be watched or pinned, a line each.
func (t *Tracer) Notes() []string { return t.notes }

// Close ends the watching, and removes the pins unless they were to stay. A tracer that is killed
// ends the watching as well; its maps' pins stay until the next one. Closing twice does no harm.
func (t *Tracer) Close() error {
	if t.done.Err() != nil {
		return nil
	}
	t.stop()
	errs := []error{closeAll(t.links)}
	if t.pins != nil && !t.keep {
		errs = append(errs, t.pins.remove())
	}
	for _, c := range []*ebpf.Collection{t.points, t.kernel} {
		if c != nil {
			c.Close()
		}
	}
	return errors.Join(errs...)
}

// closeAll closes links side by side, as the kernel takes a tenth of a second for each.
func closeAll(links map[string]link.Link) error {
	errs := make(chan error, len(links))
	for _, l := range links {
		go func() { errs <- l.Close() }()
	}
	var all []error
	for range links {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
