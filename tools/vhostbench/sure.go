package main

import "github.com/belay-vm/belay/vhostuser/vhosttest"

// surely knows how long a request took at least, whatever the generator's own thread did meanwhile:
// from when the device had been kicked to the last look at the ring that did not find it done. A
// latency also holds what that thread takes for a batch, and for how long it did not get its CPU.
// A nil one does nothing. One thread uses it.
type surely struct {
	put    [1 << 16]int64 // by a request's ID: when the device had been kicked
	batch  []uint16
	looked int64 // what is found from now on was not done at that time
}

// sent notes a request that goes with the next kick.
func (s *surely) sent(r *vhosttest.Req) {
	if s != nil {
		s.batch = append(s.batch, r.ID)
	}
}

func (s *surely) kicked(j *job) {
	if s == nil {
		return
	}
	now := j.clock()
	for _, id := range s.batch {
		s.put[id] = now
	}
	s.batch = s.batch[:0]
}

// clock is read before a look at the ring.
func (s *surely) clock(j *job) int64 {
	if s == nil {
		return 0
	}
	return j.clock()
}

// drained notes that a look at the ring that began at a time found nothing in the end.
func (s *surely) drained(at int64) {
	if s != nil {
		s.looked = at
	}
}

func (s *surely) count(t *tally, r *vhosttest.Req) {
	if s != nil {
		record(t.sure, s.looked-s.put[r.ID])
	}
}
