package vhostuser

import (
	"cmp"
	"slices"
)

// QueueRegionSplit: the header {features u64, version u16, desc_num u16, last_batch_head u16,
// used_idx u16} and one DescStateSplit {inflight u8, padding, next u16, counter u64} for each
// descriptor.
const (
	splitHeaderLen    = 16
	splitBatchHeadOff = 12
	splitUsedIdxOff   = 14

	splitEntryLen   = 16
	splitNextOff    = 6 // in an entry; inflight is at 0
	splitCounterOff = 8
)

// splitTrack keeps the inflight piece of a split ring. A nil track keeps nothing.
type splitTrack struct {
	b       []byte
	num     int // entries
	counter uint64
}

func newSplitTrack(b []byte, num int) *splitTrack {
	if b == nil {
		return nil
	}
	return &splitTrack{b: b, num: num}
}

func splitEntry(i int) int { return splitHeaderLen + splitEntryLen*i }

// take marks a chain in flight, after its counter is there.
func (t *splitTrack) take(head uint16) {
	if t == nil {
		return
	}
	e := splitEntry(int(head))
	put64(t.b, e+splitCounterOff, t.counter)
	t.counter++
	t.b[e] = 1
}

// link puts the chains of a batch on the list, so that their entries can be cleared by the
// number that used.idx went on, should we die in settle.
func (t *splitTrack) link(done []usedElem) {
	if t == nil {
		return
	}
	for _, u := range done {
		put16(t.b, splitEntry(int(u.id))+splitNextOff, get16(t.b, splitBatchHeadOff))
		put16(t.b, splitBatchHeadOff, u.id)
	}
}

// settle clears the entries of a batch that is published, then notes the used index: as long
// as that differs from the ring's, the entries may be wrong.
func (t *splitTrack) settle(done []usedElem, usedIdx uint16) {
	if t == nil {
		return
	}
	for _, u := range done {
		t.b[splitEntry(int(u.id))] = 0
	}
	put16(t.b, splitUsedIdxOff, usedIdx)
}

// recover completes a settle that was cut short and returns the chains in flight, oldest
// first. known reports that there are no others: the next one follows these and the used ones.
// A fresh piece cannot tell.
func (t *splitTrack) recover(usedIdx uint16, size int) (again []resubmission, known bool, err error) {
	if t == nil {
		return nil, false, nil
	}
	fresh, err := checkFlight(t.b, t.num)
	if err != nil {
		return nil, false, err
	}
	if fresh {
		t.format(usedIdx)
		return nil, false, nil
	}
	t.finishBatch(usedIdx, size)
	again, err = t.collect(size)
	return again, true, err
}

func (t *splitTrack) format(usedIdx uint16) {
	clear(t.b)
	put16(t.b, flightNumOff, uint16(t.num))
	put16(t.b, splitUsedIdxOff, usedIdx)
	put16(t.b, flightVersionOff, inflightVersion)
}

// finishBatch clears the entries of the batch that was published last. A difference larger
// than the ring is no batch of ours: a ring that went on elsewhere.
func (t *splitTrack) finishBatch(usedIdx uint16, size int) {
	batch := int(usedIdx - get16(t.b, splitUsedIdxOff))
	if batch > size {
		batch = 0
	}
	head := get16(t.b, splitBatchHeadOff)
	for ; batch > 0 && int(head) < t.num; batch-- {
		e := splitEntry(int(head))
		t.b[e] = 0
		head = get16(t.b, e+splitNextOff)
	}
	put16(t.b, splitUsedIdxOff, usedIdx)
}

func (t *splitTrack) collect(size int) ([]resubmission, error) {
	var again []resubmission
	for i := range t.num {
		e := splitEntry(i)
		if t.b[e] == 0 {
			continue
		}
		if i >= size {
			return nil, ErrInflight
		}
		again = append(again, resubmission{id: uint16(i), order: get64(t.b, e+splitCounterOff)})
	}
	t.counter = sortByOrder(again)
	return again, nil
}

// sortByOrder sorts by counter and returns the next one.
func sortByOrder(again []resubmission) uint64 {
	slices.SortFunc(again, func(a, b resubmission) int { return cmp.Compare(a.order, b.order) })
	if len(again) == 0 {
		return 0
	}
	return again[len(again)-1].order + 1
}
