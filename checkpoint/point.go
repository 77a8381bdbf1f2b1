package checkpoint

import "time"

// point is a place in the store's history: the end of an epoch, kept until it is deleted.
type point struct {
	id      epoch // the epoch that it closes
	line    line
	time    time.Time
	size    int64 // bytes of the disk at that moment
	seq     sequence
	name    string
	retired bool
	keep    bool // stays when a later point is retired
	left    bool // the state that a rollback left: the tip of a branch
	temp    bool // belongs to a process (an export of the running state), not to the operator

	views int // how many read it now

	runs []*run // records that died while this was the newest point
	open *run   // the one of them that takes new records
}

// branch is one line of a store's history: it began at point at, which lies on line from. The
// first line began at no point.
type branch struct {
	id, from line
	at       epoch
}

// blocks returns how many died while this was the newest point.
func (p *point) blocks() (n uint64) {
	for _, r := range p.runs {
		n += r.blocks
	}
	return n
}

// bury adds a death record behind the point.
func (p *point) bury(s *state, d death) {
	if p.open == nil {
		s.nextRun++
		p.open = &run{id: s.nextRun}
		p.runs = append(p.runs, p.open)
	}
	p.open.push(d)
}

// settle closes the open run when it is full. It runs between journal records only, so that
// replay closes it at the same place.
func (p *point) settle() {
	if p.open != nil && p.open.blocks >= runLimit {
		p.open = nil
	}
}

// inherit takes over the runs of a deleted point that lay right behind this one.
func (p *point) inherit(runs []*run) {
	p.runs = append(p.runs, runs...)
	for _, r := range runs {
		r.sweep = true
	}
}
