package pair

import (
	"slices"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
)

// Stopped is what a volume that nobody serves tells of its pair; nil if it belongs to none.
func Stopped(s *checkpoint.Store) *pairview.Status {
	state, ok := s.Pair()
	if !ok {
		return nil
	}
	changed := state.Changed
	st := &pairview.Status{
		Name: state.Pair, Role: state.Role.String(), State: pairview.Stopped, Generation: state.Generation,
		Epoch: mirror.Base, Problem: state.Why, Changed: &changed,
	}
	switch {
	case state.Poisoned:
		st.State = pairview.Poisoned
	case state.Syncing:
		st.State = pairview.Syncing
	}
	v := &volume{Store: s}
	if marks := v.marks(); len(marks) > 0 {
		newest := marks[0]
		st.Common, st.Epoch = newest.mark.String(), newest.mark.Epoch
		if at, ok := v.point(newest.point); ok {
			st.At = &at.Time
		}
	}
	return st
}

// Visitor is what stopped volumes say of themselves to a peer, and why they could not begin in a role.
func Visitor(stores []*checkpoint.Store, name string, role checkpoint.Role) (mirror.Hello, error) {
	var volumes []*volume
	for _, s := range stores {
		volumes = append(volumes, &volume{Store: s})
	}
	return greeting(volumes, name), mayBegin(volumes, name, role)
}

// point returns a point by its number.
func (v *volume) point(id uint32) (checkpoint.Point, bool) {
	points := v.Points()
	i := slices.IndexFunc(points, func(p checkpoint.Point) bool { return p.ID == id })
	if i < 0 {
		return checkpoint.Point{}, false
	}
	return points[i], true
}
