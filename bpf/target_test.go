package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/probe"
)

// program is the built testdata/target.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run needs root, tracefs and bpffs, and mounts the latter. Without root these tests fail: what
// they are about cannot be tested otherwise.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "belay-bpf-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bpf:", err)
		return 1
	}
	return m.Run()
}

func prepare(dir string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("these tests load eBPF programs into the kernel: run them as root")
	}
	if err := mount("tracefs", "/sys/kernel/tracing", unix.TRACEFS_MAGIC); err != nil {
		return err
	}
	if err := mount("bpf", bpffs, unix.BPF_FS_MAGIC); err != nil {
		return err
	}
	// bpftool is a tool of the administrator.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	program = filepath.Join(dir, "target")
	out, err := exec.Command("go", "build", "-o", program, "./testdata/target").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func mount(kind, where string, magic int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(where, &s); err == nil && s.Type == magic {
		return nil
	}
	if err := unix.Mount(kind, where, kind, 0, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, where, err)
	}
	return nil
}

// testName is a volume's name that nobody else on this machine has.
func testName(name string) string { return fmt.Sprintf("%s-%d", name, os.Getpid()) }

// The target's commands, in the order of its table.
const (
	opRequests = iota
	opKick
	opNotify
	opFlush
	opStart
	opSealed
	opRetired
	opRollback
	opResubmit
	opMirrorSend
	opMirrorAck
	opWrite
)

type command struct {
	Op     uint32
	Count  uint32
	Repeat uint64
	Args   [5]uint64
}

// target is a process with probe points that does what it is told.
type target struct {
	t   testing.TB
	pid int
	in  io.Writer
	out io.Reader
}

func start(t testing.TB) *target {
	t.Helper()
	cmd := exec.Command(program, filepath.Join(dirOnDisk(t), "file"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("target: %v", err)
		}
	})
	return &target{t, cmd.Process.Pid, in, out}
}

// dirOnDisk is on the file system of this checkout: the one for temporary files may be memory.
func dirOnDisk(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "tmp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// tell makes the target do something and returns how many nanoseconds it took.
func (p *target) tell(op uint32, repeat uint64, records []probe.Request, args ...uint64) uint64 {
	p.t.Helper()
	c := command{Op: op, Count: uint32(len(records)), Repeat: repeat}
	copy(c.Args[:], args)
	var b bytes.Buffer
	for _, v := range []any{c, records} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.in.Write(b.Bytes()); err != nil {
		p.t.Fatal(err)
	}
	var took uint64
	if err := binary.Read(p.out, binary.LittleEndian, &took); err != nil {
		p.t.Fatal(err)
	}
	return took
}

func (p *target) do(op uint32, args ...uint64) {
	p.t.Helper()
	p.tell(op, 1, nil, args...)
}

func (p *target) requests(records []probe.Request, volume uint64) {
	p.t.Helper()
	p.tell(opRequests, 1, records, volume, 7)
}

func (p *target) attach(o Options) *Tracer {
	p.t.Helper()
	o.PID = p.pid
	tracer, err := Attach(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := tracer.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return tracer
}
