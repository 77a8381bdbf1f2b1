package main

import (
	"strings"
	"testing"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// TestVerifier : it knows what it wrote last in each place, and lets no two requests meet in one.
func TestVerifier(t *testing.T) {
	w := rig(t, serve(t, &nullDevice{bytes: 1 << 20}).socket, false, waitPoll)
	v := newVerifier(offsets{first: 5, blocks: 2}, 4096)
	begin := func(op vhosttest.Op, block, want uint64) *vhosttest.Req {
		r := w.disk.Get()
		r.Op, r.Status = op, vhosttest.StatusOK
		if got, ok := v.begin(block, r); !ok || got != want {
			t.Fatalf("place %d became %d, %v; want %d", block, got, ok, want)
		}
		return r
	}
	end := func(r *vhosttest.Req) error {
		defer w.disk.Put(r)
		return v.end(r)
	}
	first := begin(vhosttest.OpWrite, 5, 5)
	old := append([]byte(nil), first.Data()...)
	other := begin(vhosttest.OpRead, 5, 6) // 5 is in flight
	if _, ok := v.begin(6, w.disk.Get()); ok {
		t.Error("a place was found though all are in flight")
	}
	if err := end(other); err != nil {
		t.Errorf("what nobody wrote: %v", err)
	}
	if err := end(first); err != nil {
		t.Error(err)
	}
	second := begin(vhosttest.OpWrite, 5, 5)
	now := append([]byte(nil), second.Data()...)
	if err := end(second); err != nil {
		t.Error(err)
	}
	for _, row := range []struct {
		data []byte
		want string
	}{{now, ""}, {old, "byte 20480 of the disk"}} {
		r := begin(vhosttest.OpRead, 5, 5)
		copy(r.Data(), row.data)
		err := end(r)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}
