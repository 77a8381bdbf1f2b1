package checkpoint

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/disktest"
	"github.com/belay-vm/belay/internal/probe"
)

// likely reports times that no request can have; random workloads have all of theirs looked at.
func likely(t bio.Times) error {
	if (t.Handed == 0) != (t.Completed == 0) || t.Handed > t.Completed || t.Device > t.Completed-t.Handed {
		return fmt.Errorf("unlikely times %+v", t)
	}
	return nil
}

// timer runs requests one by one on a store without goroutines.
type timer struct {
	t    *testing.T
	s    *Store
	eng  *disktest.Engine
	lane bio.Lane
}

func newTimer(t *testing.T, o Options) *timer {
	disk := disktest.New(1)
	t.Cleanup(disk.Close)
	c := CreateOptions{Size: 1 << 20, JournalSize: journalArea + minJournalArea}
	if err := CreateOn(fakeFS{disk}, c); err != nil {
		t.Fatal(err)
	}
	o.ByHand = true
	s, err := OpenOn(fakeFS{disk}, o)
	if err != nil {
		t.Fatal(err)
	}
	x := &timer{t: t, s: s, eng: disk.NewEngine()}
	if x.lane, err = s.NewLane(1, x.eng); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.lane.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// do runs a request to its end and checks that its times lie within those of the call.
func (x *timer) do(op bio.Op, off, n int64) bio.Times {
	x.t.Helper()
	r := &bio.Request{Op: op, Off: off, Len: n}
	if op == bio.Read || op == bio.Write {
		r.Iov = []unix.Iovec{vectorOf(alignedBytes(int(n)))}
	}
	from := probe.Now()
	x.lane.Submit(r)
	x.lane.Dispatch()
	for done := x.lane.Settle(nil); len(done) == 0; done = x.lane.Settle(done) {
		if tag, res, ok := x.eng.Step(); ok {
			x.lane.Complete(tag, res)
		}
		for x.s.flushOnce() || x.s.tendOnce() {
		}
		x.lane.Wake()
	}
	if r.Err != nil {
		x.t.Fatal(r.Err)
	}
	if err := likely(r.Times); err != nil {
		x.t.Fatal(err)
	}
	if r.Handed != 0 && (r.Handed < from || r.Completed > probe.Now()) {
		x.t.Errorf("operation %d: %+v, but it began at %d", op, r.Times, from)
	}
	return r.Times
}

func TestTimesAtTheDevice(t *testing.T) {
	small := defaultTuning
	small.intentSlots = 0
	x := newTimer(t, Options{tuning: &small})
	for _, c := range []struct {
		what   string
		op     bio.Op
		off, n int64
		device bool
	}{
		{"a read of what was never written", bio.Read, 0, blockSize, false},
		{"a flush with nothing to do", bio.Flush, 0, 0, false},
		{"a write", bio.Write, 0, 2 * blockSize, true},
		{"a flush by a round", bio.Flush, 0, 0, true},
		{"a read", bio.Read, blockSize, blockSize, true},
		{"a write to be merged", bio.Write, sectorSize, sectorSize, true},
		{"a discard", bio.Discard, 0, blockSize, false},
		{"a read of what was discarded", bio.Read, 0, blockSize, false},
	} {
		if got := x.do(c.op, c.off, c.n); (got.Device > 0) != c.device || (got.Handed > 0) != c.device {
			t.Errorf("%s: %+v, want some time at the device: %v", c.what, got, c.device)
		}
	}
}

// TestTimesAddUp submits a request twice, as a device does with one that has several parts.
func TestTimesAddUp(t *testing.T) {
	var r bio.Request
	spent{}.addTo(&r)
	spent{100, 150, 40}.addTo(&r)
	spent{200, 230, 30}.addTo(&r)
	if want := (bio.Times{Handed: 100, Completed: 230, Device: 70}); r.Times != want {
		t.Errorf("times are %+v, want %+v", r.Times, want)
	}
}

func TestEpochOfRequests(t *testing.T) {
	x := newTimer(t, Options{})
	before := x.do(bio.Write, 0, blockSize).Epoch
	p, err := x.s.Start("", true)
	if err != nil {
		t.Fatal(err)
	}
	if before != uint64(p.ID) {
		t.Errorf("a write before checkpoint %d has epoch %d", p.ID, before)
	}
	if len(x.s.flush.unsealed) != 1 {
		t.Errorf("%d checkpoints wait for their seal", len(x.s.flush.unsealed))
	}
	for _, op := range []bio.Op{bio.Write, bio.Read, bio.Flush} {
		n := int64(blockSize)
		if op == bio.Flush {
			n = 0
		}
		if after := x.do(op, 0, n).Epoch; after != uint64(p.ID)+1 {
			t.Errorf("operation %d after checkpoint %d has epoch %d", op, p.ID, after)
		}
	}
	if len(x.s.flush.unsealed) != 0 {
		t.Error("the flush has sealed no checkpoint")
	}
}
