package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// bpffs is where the kernel keeps maps and links by name.
const bpffs = "/sys/fs/bpf"

// PinDir is where the maps of a volume are pinned. The kernel takes no dots in names.
func PinDir(name string) string {
	clean := strings.NewReplacer(".", "_", "/", "_").Replace(filepath.Base(name))
	return filepath.Join(bpffs, "belay", clean)
}

// Who has pins in a directory: a symbolic link of this name tells the process.
const (
	byDaemon = "daemon"
	byTracer = "tracer"
)

// forGood is the owner of pins that outlive their tracer.
const forGood = "pinned"

// pinned are the maps of each owner. A tracer's links are pinned as linkPrefix and their name.
var pinned = map[string][]string{
	byDaemon: {countersMapIoCount, countersMapIoLatency},
	byTracer: {
		traceMapConfig, traceMapIoParts, traceMapIoQueues, traceMapIoLost, traceMapEvents,
		kernelMapUringOps, kernelMapBlockOps,
	},
}

const linkPrefix = "link_"

// errTaken says that a living process has its pins where ours would be.
var errTaken = errors.New("is in use")

// pins are what one owner has in the directory of a volume.
type pins struct {
	dir   string
	owner string
}

// claim makes the directory ours, or says whose it is. What dead processes have left is removed.
func claim(name, owner, target string) (*pins, error) {
	var fsinfo unix.Statfs_t
	if err := unix.Statfs(bpffs, &fsinfo); err != nil {
		return nil, err
	}
	if fsinfo.Type != unix.BPF_FS_MAGIC {
		return nil, fmt.Errorf("no bpffs at %s (mount -t bpf bpf %s)", bpffs, bpffs)
	}
	p := &pins{PinDir(name), owner}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	err := os.Symlink(target, p.mark())
	if !errors.Is(err, fs.ErrExist) {
		return p, err
	}
	if who, _ := os.Readlink(p.mark()); who == forGood || alive(who) {
		return nil, fmt.Errorf("%s %w: %s", p.dir, errTaken, who)
	}
	if err := p.removeFiles(); err != nil {
		return nil, err
	}
	return p, os.Symlink(target, p.mark())
}

func (p *pins) mark() string { return filepath.Join(p.dir, p.owner) }

func (p *pins) pinMaps(coll *ebpf.Collection) error {
	if coll == nil {
		return nil
	}
	for _, name := range pinned[p.owner] {
		m, ok := coll.Maps[name]
		if !ok || m.IsPinned() { // config is in two collections, but pinned once
			continue
		}
		err := m.Pin(filepath.Join(p.dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// remove takes away what the owner has pinned, and the directory with the last owner.
func (p *pins) remove() error {
	err := p.removeFiles()
	_ = os.Remove(p.dir) // not while the other owner is there
	_ = os.Remove(filepath.Dir(p.dir))
	return err
}

// removeFiles leaves the mark to the last: until then, what is there has an owner.
func (p *pins) removeFiles() error {
	names := append([]string{}, pinned[p.owner]...)
	if p.owner == byTracer {
		links, err := filepath.Glob(filepath.Join(p.dir, linkPrefix+"*"))
		if err != nil {
			return err
		}
		for _, l := range links {
			names = append(names, filepath.Base(l))
		}
	}
	var errs []error
	for _, name := range append(names, p.owner) {
		if err := os.Remove(filepath.Join(p.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// pin gives the tracer's maps names, and its links if they are to stay. Only then it is an error
// if that cannot be.
func (t *Tracer) pin(o *Options) error {
	if o.Name == "" {
		return nil
	}
	target := self()
	if o.Pin {
		target = forGood
	}
	err := t.pinAs(o, target)
	if err == nil {
		return nil
	}
	m := &Missing{fmt.Sprintf("pins below %s: %v", bpffs, err), stillTraced, err}
	if o.Pin {
		return m
	}
	t.note(m)
	return nil
}

func (t *Tracer) pinAs(o *Options, target string) (err error) {
	if t.pins, err = claim(o.Name, byTracer, target); err != nil {
		return err
	}
	if err := errors.Join(t.pins.pinMaps(t.points), t.pins.pinMaps(t.kernel)); err != nil || !o.Pin {
		return err
	}
	for name, l := range t.links {
		if err := l.Pin(filepath.Join(t.pins.dir, linkPrefix+name)); err != nil {
			return err
		}
	}
	t.keep = true
	return nil
}

// Unpin ends what a tracer with Options.Pin has left, and removes what a killed tracer has.
func Unpin(name string) error {
	p := &pins{PinDir(name), byTracer}
	who, err := os.Readlink(p.mark())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("nothing of a tracer is pinned in %s", p.dir)
	case err != nil:
		return err
	case alive(who):
		return fmt.Errorf("%s %w: %s", p.dir, errTaken, who)
	}
	return p.remove()
}

// self names this process so that none that gets its number later is taken for it.
func self() string { return identity(os.Getpid()) }

// identity is "process PID since TICKS", or "" for one that does not exist.
func identity(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field, in parentheses, may hold anything; the start is the 22nd.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fmt.Sprintf("process %d since %s", pid, fields[19])
}

func alive(who string) bool {
	fields := strings.Fields(who)
	if len(fields) < 2 {
		return false
	}
	pid, err := strconv.Atoi(fields[1])
	return err == nil && identity(pid) == who
}
