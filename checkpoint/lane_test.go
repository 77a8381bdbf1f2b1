package checkpoint

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// TestMergedSlotComesBack: TestModel found that a slot that a write had merged was given up, freed
// by a flush round and used again for the same block in the same epoch. The block looked
// unchanged, and the merge put older content back over an acknowledged write.
func TestMergedSlotComesBack(t *testing.T) {
	small := tuning{regionSlots: 1, growSlots: 2, minSlack: 2, unprovenBlocks: 1000}
	disk, s := fresh(t, Options{tuning: &small})
	mustWrite(t, s, pattern(make([]byte, blockSize), 1), 0)

	eng := disk.NewEngine()
	worker, err := s.NewLane(1, eng)
	if err != nil {
		t.Fatal(err)
	}
	own := worker.(*lane)
	part := alignedBytes(sectorSize)
	worker.Submit(&bio.Request{Op: bio.Write, Len: sectorSize, Iov: []unix.Iovec{vectorOf(part)}})
	worker.Dispatch()
	var done []*bio.Request
	step := func() {
		if tag, res, ok := eng.Step(); ok {
			worker.Complete(tag, res)
		}
		done = worker.Settle(done)
		worker.Wake()
	}
	for len(done) == 0 && own.works[0].phase != phasePlace {
		step()
		for s.flushOnce() || s.tendOnce() {
		}
	}
	newest := make([]byte, blockSize)
	was := own.works[0].head.was
	for i := range uint64(50) {
		mustWrite(t, s, pattern(newest, 100+i), 0)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if now, _ := s.blocks.run(0, 1); now == was {
			break
		}
	}
	for len(done) == 0 {
		step()
		for s.flushOnce() || s.tendOnce() {
		}
	}
	copy(newest, part)
	wantAt(t, s, newest, 0)
	if err := worker.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
