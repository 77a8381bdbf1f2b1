package pair

import (
	"errors"
	"fmt"
	"sync"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// volume is a store as a pair needs it.
type volume struct {
	*checkpoint.Store
	mu   sync.Mutex
	held uint32 // points from this one on are kept

	retiring sync.Mutex

	anyLine bool // ruleOwnLine does not hold
}

// marks lists the marks of the current line, newest first.
func (v *volume) marks() []markPoint {
	line := uint32(0)
	for _, l := range v.Lines() {
		if l.Current {
			line = l.ID
		}
	}
	points := v.Points()
	if v.anyLine {
		for i := range points {
			points[i].Line, points[i].Left = line, false
		}
	}
	return marksOf(points, line)
}

// find returns the point of a mark.
func (v *volume) find(m mirror.Mark) (uint32, bool) {
	for _, p := range v.marks() {
		if p.mark == m {
			return p.point, true
		}
	}
	return 0, false
}

// hold keeps the points from this one on, which both sides have for good or may have.
func (v *volume) hold(point uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = point
	v.HoldFrom(point)
}

// holdAll keeps whatever marks there are: nobody knows yet which of them the next partner has.
func (v *volume) holdAll() {
	if list := v.marks(); len(list) > 0 {
		v.hold(list[len(list)-1].point)
	}
}

// hello is what a session says of the volume.
func (v *volume) hello() mirror.DiskHello {
	state, _ := v.Pair()
	return mirror.DiskHello{ID: v.ID(), Peer: state.Peer, Size: v.Size()}
}

// update changes what the volume knows of its pair, durably.
func (v *volume) update(change func(*checkpoint.PairState)) error {
	state, _ := v.Pair()
	change(&state)
	return v.SetPair(state)
}

// updateAll does so on all disks; on the first error the rest is tried all the same.
func updateAll(disks []*volume, change func(*checkpoint.PairState)) error {
	var errs []error
	for i, v := range disks {
		if err := v.update(change); err != nil {
			errs = append(errs, fmt.Errorf("disk %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}
