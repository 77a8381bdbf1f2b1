package vhostuser

import (
	"hash/crc32"
	"runtime/debug"
)

// A front end stops a device queue by queue. A backend that must do something in between, when
// nothing is served any more and before the front end knows, is a Stopper.

// Stopper is a Device that is told of a stop. At the first GET_VRING_BASE all rings are halted and
// drained, then Stopped is called, and the reply waits until it returns: QEMU's main loop stands
// still for so long. The stop is over with the next ring that starts.
type Stopper interface {
	Device
	// Halting says that rings were asked to end, and that the front end waits until they have. What is
	// taken of a ring need not be published then, if its queue says that it is Kept.
	Halting()
	// Stopped gets what the started rings held, by their numbers.
	Stopped(rings []RingDigest)
}

// RingDigest identifies a ring's state: in the upper half where the device stands in it, as GET_VRING_BASE
// has it, in the lower half a checksum of what it has put into it; 0: nothing can be said of that. What the
// driver may have changed since is left out: a front end starts a ring and lets the guest go on at once,
// so nobody can say what the driver had there at the start.
type RingDigest struct {
	Queue  int
	Digest uint64
}

// stopAll halts and drains every ring, once for each stop, and tells the device.
func (s *session) stopAll() {
	device, ok := s.dev.(Stopper)
	if !ok || s.stopped {
		return
	}
	s.haltAll()
	device.Halting()
	var rings []RingDigest
	for _, r := range s.rings {
		if r.q == nil {
			continue
		}
		r.wait()
		digest, err := r.q.Digest()
		if err != nil {
			r.breakDown(err)
		}
		rings = append(rings, RingDigest{r.index, digest})
	}
	s.stopped = true
	device.Stopped(rings)
}

// halting tells the device that rings which were asked to end are waited for.
func (s *session) halting() {
	if device, ok := s.dev.(Stopper); ok {
		device.Halting()
	}
}

// goOn ends a stop: rings that were halted with the others and not stopped themselves go on.
func (s *session) goOn() {
	if !s.stopped {
		return
	}
	s.stopped = false
	for _, r := range s.rings {
		r.resume()
	}
}

var digestTable = crc32.MakeTable(crc32.Castagnoli)

// Digest identifies what the ring holds; see RingDigest. No one else may use the queue meanwhile.
func (q *Queue) Digest() (sum uint64, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
	return uint64(q.layout.position())<<32 | uint64(q.layout.content()), nil
}
