package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// attachKernel watches the kernel's side of the process. Whatever of it is missing is a note.
func (t *Tracer) attachKernel() {
	spec, err := loadKernel()
	if err == nil {
		err = t.dropUnknown(spec)
	}
	if err == nil && len(spec.Programs) > 0 {
		err = t.loadKernel(spec)
	}
	if err != nil {
		t.note(&Missing{whyNoKernel(err), stillPoints, err})
	}
}

func whyNoKernel(err error) string {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported) {
		return "the kernel's BTF (/sys/kernel/btf/vmlinux), for io_uring and block requests"
	}
	return fmt.Sprintf("io_uring and block requests: %v", err)
}

// dropUnknown takes out the programs whose tracepoints this kernel does not have.
func (t *Tracer) dropUnknown(spec *ebpf.CollectionSpec) error {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	var unknown []string
	for name, p := range spec.Programs {
		if _, err := types.AnyTypesByName("btf_trace_" + p.AttachTo); err != nil {
			delete(spec.Programs, name)
			unknown = append(unknown, p.AttachTo)
		}
	}
	if len(unknown) > 0 {
		t.note(&Missing{"tracepoints " + strings.Join(unknown, ", "), stillPoints, nil})
	}
	return nil
}

func (t *Tracer) loadKernel(spec *ebpf.CollectionSpec) error {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{kernelMapConfig: t.points.Maps[traceMapConfig]},
	})
	if err != nil {
		return err
	}
	t.kernel = coll
	for name, p := range coll.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return err
		}
		t.links[name] = l
	}
	return nil
}

// opcodes are the names of io_uring's operations as far as a store uses them.
var opcodes = map[uint32]string{
	0: "nop", 1: "readv", 2: "writev", 3: "fsync", 4: "read_fixed", 5: "write_fixed", 6: "poll_add",
	7: "poll_remove", 8: "sync_file_range", 11: "timeout", 12: "timeout_remove", 14: "async_cancel",
	17: "fallocate", 22: "read", 23: "write", 24: "fadvise", 25: "madvise", 40: "msg_ring",
}

func opcodeName(op uint32) string {
	if name, ok := opcodes[op]; ok {
		return name
	}
	return fmt.Sprintf("opcode_%d", op)
}

// blockKinds are in the order of enum block_kind in c/kernel.bpf.c.
var blockKinds = []string{"read", "write", "flush", "discard", "write_zeroes", "other"}
