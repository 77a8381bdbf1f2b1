package bpf

import "testing"

// The kernel's side of exactly what the target does: direct writes, syncs, one failure.
func TestKernel(t *testing.T) {
	p, other := start(t), start(t)
	tracer := p.attach(Options{Kernel: true})
	const n = 20
	p.tell(opWrite, n, nil)
	other.tell(opWrite, 5, nil) // not ours
	s := snapshot(t, tracer)
	if notes := tracer.Notes(); len(notes) != 0 {
		t.Errorf("notes: %q", notes)
	}
	writes := s.Uring["write"]
	if writes == nil || s.Uring["fsync"] == nil {
		t.Fatalf("io_uring: %v", s.Uring)
	}
	if writes.Submitted != n+1 || writes.Completed != n+1 || writes.Errors != 1 ||
		writes.Latency.Count() != n+1 {
		t.Errorf("writes: %d submitted, %d completed, %d failed, want %d, %d, 1",
			writes.Submitted, writes.Completed, writes.Errors, n+1, n+1)
	}
	syncs := s.Uring["fsync"]
	if syncs.Completed != n || syncs.Punted != n || syncs.Errors != 0 {
		t.Errorf("syncs: %d completed, %d punted, %d failed, want %d, %d, 0",
			syncs.Completed, syncs.Punted, syncs.Errors, n, n)
	}
	checkBlock(t, s.Block["write"], n)
}

// checkBlock knows only the least that must have come to the device: the file system adds its own.
func checkBlock(t *testing.T, b *BlockOp, n uint64) {
	t.Helper()
	if b == nil {
		t.Fatal("no block writes: is the checkout on a file system without a block device?")
	}
	if b.Requests < n || b.Bytes < n*4096 || b.Errors != 0 {
		t.Errorf("block writes: %d, %d bytes, %d failed; want %d, %d, none",
			b.Requests, b.Bytes, b.Errors, n, n*4096)
	}
	if b.Queue.Count() != b.Requests || b.Device.Count() != b.Requests || b.DeviceNs == 0 {
		t.Errorf("block writes: %d in queue, %d in device, %d ns; want %d requests",
			b.Queue.Count(), b.Device.Count(), b.DeviceNs, b.Requests)
	}
}
