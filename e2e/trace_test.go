//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mayTrace says whether the backend can be traced, and fails the test where this machine does not
// allow it: what these tests are about cannot be tested otherwise.
func mayTrace(t *testing.T) bool {
	t.Helper()
	if !needs(t, tracing) {
		return false
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test loads eBPF programs into the kernel: run it as root")
	}
	mount(t, "tracefs", "/sys/kernel/tracing", unix.TRACEFS_MAGIC)
	mount(t, "bpf", "/sys/fs/bpf", unix.BPF_FS_MAGIC)
	return true
}

// mount mounts a file system of the kernel's where it is not mounted. It stays.
func mount(t *testing.T, kind, where string, magic int64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(where, &s); err == nil && s.Type == magic {
		return
	}
	if err := unix.Mount(kind, where, kind, 0, ""); err != nil {
		t.Fatalf("mounting %s at %s: %v", kind, where, err)
	}
}

// Names of the types of requests, in the order of their numbers (docs/TRACING.md).
var typeNames = []string{"read", "write", "flush", "discard", "write_zeroes", "get_id", "other"}

// total and the parts are places in the sums of times of io_parts.
const (
	total = iota
	ring
	store
	device
	publication
	numParts
)

var partNames = [numParts]string{"total", "ring", "store", "device", "publication"}

// count is what was counted of one type of requests.
type count struct {
	Requests, Bytes, Errors uint64
}

// parts is the same, and where the time went: an element of io_parts, as bpftool prints it.
type parts struct {
	count
	Total, Ring, Store, Device, Publication slots
	Ns                                      [numParts]uint64
}

type slots struct{ Slots []uint64 }

// count begins to count the volume's requests in pinned maps, until the test ends.
func (w *world) count() {
	w.t.Helper()
	cli(w.t, "trace", w.volume, "--pin")
	w.t.Cleanup(func() { cli(w.t, "trace", w.volume, "--unpin") })
}

// pins is where the volume's maps are.
func (w *world) pins() string { return filepath.Join("/sys/fs/bpf/belay", filepath.Base(w.volume)) }

// dump has bpftool print a map of the volume's: the keys and values, with the names of their fields.
func dump[K, V any](w *world, name string) (keys []K, values []V) {
	w.t.Helper()
	var all []struct {
		Formatted struct {
			Key   K
			Value V
		}
	}
	tool, err := exec.LookPath("bpftool")
	if err != nil {
		tool = "/usr/sbin/bpftool" // it is a tool of the administrator
	}
	path := filepath.Join(w.pins(), name)
	out, err := exec.Command(tool, "--json", "map", "dump", "pinned", path).Output()
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	if err != nil {
		w.t.Fatalf("bpftool map dump pinned %s: %v: %s", path, err, out)
	}
	for _, one := range all {
		keys, values = append(keys, one.Formatted.Key), append(values, one.Formatted.Value)
	}
	return keys, values
}

// traced is what the tracer's map has of each type of requests; no request may be lost.
func (w *world) traced() map[string]parts {
	w.t.Helper()
	keys, values := dump[struct{ Queue, Type, Size uint }, parts](w, "io_parts")
	sum := map[string]parts{}
	for i, v := range values {
		name := typeNames[keys[i].Type]
		s := sum[name]
		s.add(&v)
		sum[name] = s
		v.check(w.t)
	}
	if _, lost := dump[uint, struct{ Events, Records uint64 }](w, "io_lost"); lost[0].Records != 0 {
		w.t.Errorf("%d requests were not counted", lost[0].Records)
	}
	return sum
}

func (p *parts) add(other *parts) {
	p.Requests += other.Requests
	p.Bytes += other.Bytes
	p.Errors += other.Errors
	for i := range p.Ns {
		p.Ns[i] += other.Ns[i]
	}
}

// check compares the counts of an element with each other.
func (p *parts) check(t *testing.T) {
	t.Helper()
	for i, h := range []slots{p.Total, p.Ring, p.Store, p.Device, p.Publication} {
		n := uint64(0)
		for _, v := range h.Slots {
			n += v
		}
		if n != p.Requests {
			t.Errorf("the histogram of %s has %d requests of %d", partNames[i], n, p.Requests)
		}
	}
	if sum := p.Ns[ring] + p.Ns[store] + p.Ns[device] + p.Ns[publication]; sum != p.Ns[total] {
		t.Errorf("the parts take %d ns, the total is %d", sum, p.Ns[total])
	}
}

// counted is what the daemon itself counts, without any tracer.
func (w *world) counted() map[string]count {
	w.t.Helper()
	_, queues := dump[uint, map[string]json.RawMessage](w, "io_count")
	sum := map[string]count{}
	for _, q := range queues {
		for _, name := range typeNames {
			var c count
			if err := json.Unmarshal(q[name], &c); err != nil {
				w.t.Fatalf("io_count: %s: %v", name, err)
			}
			s := sum[name]
			sum[name] = count{s.Requests + c.Requests, s.Bytes + c.Bytes, s.Errors + c.Errors}
		}
	}
	return sum
}

// sent is what the load generator says.
type sent struct {
	Requests, Reads, Flushes, Bytes, Errors, Checkpoints uint64
}

// load runs the load generator to its end.
func (w *world) load(args ...string) sent {
	w.t.Helper()
	program := os.Getenv("VHOSTBENCH")
	if program == "" {
		program = filepath.Join("..", "bin", "vhostbench")
	}
	cmd := exec.Command(program, slices.Concat([]string{"run", "--json", "--wait", "eventfd",
		"--socket-path", w.socket, "--queues", fmt.Sprint(max(w.disk.Queues, 1))}, args)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var s sent
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		w.t.Fatalf("vhostbench: %v: %s", err, &said)
	}
	return s
}

// tracer is a belay trace under way.
type tracer struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	read   chan struct{} // closed when its output has ended
}

// trace starts belay trace, and returns when it counts.
func (w *world) trace(args ...string) *tracer {
	w.t.Helper()
	args = append([]string{"trace", w.volume, "--json"}, args...)
	r := &tracer{t: w.t, cmd: exec.Command(binary(), args...), read: make(chan struct{})}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // of the first interval
		w.t.Fatalf("belay trace: %v: %s", r.cmd.Wait(), &r.stderr)
	}
	go func() {
		defer close(r.read)
		_, _ = io.Copy(io.Discard, lines)
	}()
	return r
}

// stop ends it as Ctrl-C does.
func (r *tracer) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	<-r.read
	if err := r.cmd.Wait(); err != nil {
		r.t.Fatalf("belay trace: %v: %s", err, &r.stderr)
	}
}
