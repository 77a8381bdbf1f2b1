package vhostuser

import (
	"errors"
	"slices"
)

// maxMemSlots is what GET_MAX_MEM_SLOTS reports: more than QEMU uses.
const maxMemSlots = 256

var errRegionFDs = errors.New("each region needs its own file descriptor")

// setMemTable replaces all of memory. Regions that stay keep their mapping: without memory
// slots QEMU sends the same table again at every start, and in between when the firmware
// moves a window, with rings that run.
func (s *session) setMemTable(m *message) error {
	rs, err := decodeTable(m.payload)
	if err != nil {
		return err
	}
	if len(rs) != len(m.fds) {
		return m.bad("file descriptors", uint64(len(m.fds)), errRegionFDs)
	}
	next, err := replaceTable(s.mem, rs, m.fds)
	if err != nil {
		return m.bad("regions", uint64(len(rs)), err)
	}
	s.swapMemory(next)
	return nil
}

func (s *session) addMemReg(m *message) error {
	r := decodeRegion(m.payload[8:])
	next, err := s.mem.with(r, m.fds[0])
	if err != nil {
		return m.bad("guest address", r.guestAddr, err)
	}
	s.swapMemory(next)
	return nil
}

func (s *session) remMemReg(m *message) error {
	r := decodeRegion(m.payload[8:])
	next, err := s.mem.without(r)
	if err != nil {
		return m.bad("guest address", r.guestAddr, err)
	}
	s.swapMemory(next)
	return nil
}

// swapMemory moves all rings to another table and unmaps what is in none. Where memory only
// grows, rings that run learn of it on the way; where some goes, every request that may
// point into it is finished first, as the front end frees the memory after the reply.
func (s *session) swapMemory(next *memTable) {
	old := s.mem
	s.mem = next
	rings := s.queued()
	if next.keeps(old) {
		for _, r := range rings {
			r.q.growMemory(next)
		}
		old.release(next)
		return
	}
	s.paused(rings, func() {
		for _, r := range rings {
			if err := r.q.setMemory(next); err != nil {
				r.breakDown(err)
			}
		}
		old.release(next)
	})
}

// queued are the started rings.
func (s *session) queued() []*ring {
	var rs []*ring
	for _, r := range s.rings {
		if r.q != nil {
			rs = append(rs, r)
		}
	}
	return rs
}

// setLogBase replaces the dirty bitmap. The reply says that nothing is written to the old
// one any more, so rings that log into it are paused for the change. A bitmap that cannot be
// mapped ends the session: QEMU survives that, but not a refusal.
func (s *session) setLogBase(m *message) (reply, error) {
	l := decodeLogBase(m.payload)
	next, err := mapDirtyLog(m.fds[0], l.size, l.offset)
	if err != nil {
		return reply{}, m.bad("size", l.size, err)
	}
	old := s.dirty
	s.dirty = next
	s.relog()
	if old != nil {
		old.close()
	}
	return u64Reply(0), nil
}

// relog tells every started ring where to log now.
func (s *session) relog() {
	var rs []*ring
	for _, r := range s.queued() {
		if r.logging != s.logState(r) {
			rs = append(rs, r)
		}
	}
	s.paused(rs, func() {
		for _, r := range rs {
			r.logging = s.logState(r)
			r.q.setLog(r.logging.log, r.logging.used, r.logging.addr)
		}
	})
}

// logState is what a ring is to know of the log: the bitmap counts only while the front end
// has LOG_ALL acknowledged, and marking the ring's used part only with it.
func (s *session) logState(r *ring) logState {
	if s.features&featureLogAll == 0 || s.dirty == nil {
		return logState{}
	}
	if r.addr.flags&vringLogged == 0 {
		return logState{log: s.dirty}
	}
	return logState{log: s.dirty, used: true, addr: r.addr.log}
}

var errInflightSize = errors.New("want 1 to 256 queues of 1 to 32768 descriptors")

func checkInflight(m *message, d inflightDesc) error {
	if d.queues < 1 || d.queues > maxQueues {
		return m.bad("queues", uint64(d.queues), errInflightSize)
	}
	if d.queueSize < 1 || d.queueSize > maxRingSize {
		return m.bad("queue size", uint64(d.queueSize), errInflightSize)
	}
	return nil
}

// getInflightFD makes a fresh region. It comes back with SET_INFLIGHT_FD.
func (s *session) getInflightFD(m *message) (reply, error) {
	d := decodeInflight(m.payload)
	if err := checkInflight(m, d); err != nil {
		return reply{}, err
	}
	fl, fd, size, err := newInflight(int(d.queues), int(d.queueSize), s.packed())
	if err != nil {
		return reply{}, m.bad("queues", uint64(d.queues), err)
	}
	fl.close()
	d.size, d.offset = size, 0
	return reply{payload: d.append(nil, len(m.payload)), fd: fd}, nil
}

// setInflightFD takes the region that the next starts use. Started rings keep theirs.
func (s *session) setInflightFD(m *message) error {
	d := decodeInflight(m.payload)
	if d.size == 0 {
		s.setRegion(nil)
		return nil
	}
	if err := checkInflight(m, d); err != nil {
		return err
	}
	if len(m.fds) == 0 {
		return m.bad("file descriptors", 0, errRegionFDs)
	}
	fl, err := mapInflight(m.fds[0], d.size, d.offset, int(d.queues), int(d.queueSize), s.packed())
	if err != nil {
		return m.bad("size", d.size, err)
	}
	s.setRegion(fl)
	return nil
}

func (s *session) packed() bool { return s.features&featureRingPacked != 0 }

// setRegion replaces the inflight region for the next starts.
func (s *session) setRegion(fl *inflight) {
	if s.inflight != nil {
		s.retired = append(s.retired, s.inflight)
	}
	s.inflight = fl
	s.sweepRegions()
}

// sweepRegions unmaps the replaced inflight regions that no started ring uses any more.
func (s *session) sweepRegions() {
	s.retired = slices.DeleteFunc(s.retired, func(old *inflight) bool {
		for _, r := range s.rings {
			if r.region == old {
				return false
			}
		}
		old.close()
		return true
	})
}
