package checkpoint

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

// TestBatchBeyondTheJournal commits a batch whose records together are longer than the journal.
// (It waited for room for ever.)
func TestBatchBeyondTheJournal(t *testing.T) {
	const depth = minJournalArea / writeEntry
	dir := newVolume(t, CreateOptions{Size: 1 << 30, JournalSize: journalArea + minJournalArea})
	s := open(t, dir, Options{})
	eng, err := aio.New(aio.Inline, depth)
	if err != nil {
		t.Fatal(err)
	}
	lane, err := s.NewLane(depth, eng)
	if err != nil {
		t.Fatal(err)
	}
	p := alignedBytes(4096)
	requests := make([]bio.Request, depth)
	for i, b := range rand.Perm((1 << 30) / 4096)[:depth] {
		requests[i] = bio.Request{Op: bio.Write, Off: int64(b) * 4096, Len: 4096, Tag: uint32(i),
			Iov: []unix.Iovec{vectorOf(p)}}
		lane.Submit(&requests[i])
	}
	lane.Dispatch()
	drain(t, lane, eng, depth)
	for _, end := range []func() error{lane.Close, eng.Close, s.Close} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
}

// drain goes on with a lane until so many requests are done.
func drain(t *testing.T, lane bio.Lane, eng aio.Engine, left int) {
	t.Helper()
	eng.Watch(lane.WakeFD(), wakeTag)
	events := make([]aio.Completion, left)
	var done []*bio.Request
	for snapshots := 0; left > 0; {
		done = lane.Settle(done[:0])
		for _, r := range done {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if left -= len(done); left == 0 {
			break
		}
		n, err := eng.Wait(events, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events[:n] {
			if e.Tag != wakeTag {
				lane.Complete(e.Tag, e.Res)
				continue
			}
			if snapshots++; snapshots > 100 {
				t.Fatal("the batch waits for ever")
			}
			lane.Wake()
			eng.Watch(lane.WakeFD(), wakeTag)
		}
	}
	eng.Unwatch(wakeTag)
	if _, err := eng.Wait(events, false); err != nil {
		t.Fatal(err)
	}
}
