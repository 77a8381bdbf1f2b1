package vhostuser

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	errNoSuchQueue  = errors.New("the device has no such queue")
	errRingSize     = fmt.Errorf("want 1 to %d descriptors", maxRingSize)
	errNoFD         = errors.New("no file descriptor, and no flag that says so")
	errVringBits    = errors.New("unknown bits")
	errEnableValue  = errors.New("want 0 or 1")
	errNoEventFD    = errors.New("want an eventfd")
	errNeverStarted = errors.New("the ring was never started on this connection")
)

// ringOf finds the ring that a message speaks of.
func (s *session) ringOf(m *message, index uint64) (*ring, error) {
	if index >= uint64(len(s.rings)) {
		return nil, m.bad("queue", index, errNoSuchQueue)
	}
	return s.rings[index], nil
}

func (s *session) setVringNum(m *message) error {
	v := decodeVringState(m.payload)
	r, err := s.ringOf(m, uint64(v.index))
	if err != nil {
		return err
	}
	if v.num < 1 || v.num > maxRingSize {
		return m.bad("num", uint64(v.num), errRingSize)
	}
	r.size = v.num
	return nil
}

func (s *session) setVringBase(m *message) error {
	v := decodeVringState(m.payload)
	r, err := s.ringOf(m, uint64(v.index))
	if err != nil {
		return err
	}
	r.base = v.num
	return nil
}

// setVringAddr takes the addresses for the next start. Of a started ring only the dirty
// logging changes, which is what QEMU sends the message to it for.
func (s *session) setVringAddr(m *message) error {
	a := decodeVringAddr(m.payload)
	r, err := s.ringOf(m, uint64(a.index))
	if err != nil {
		return err
	}
	r.addr = a
	s.relog()
	return nil
}

// setVringKick starts a ring: the addresses are checked, requests of a backend that died are
// taken from the inflight region, and if the ring is enabled it is served. A ring that is
// started already gets the new eventfd and goes on.
func (s *session) setVringKick(m *message) error {
	r, fd, err := s.vringFD(m)
	if err != nil {
		return err
	}
	if fd >= 0 {
		// A device that finds the eventfd readable must not wait if the front end reads it first.
		_ = unix.SetNonblock(fd, true)
	}
	if r.q != nil {
		s.paused([]*ring{r}, func() { r.q.setKick(fd) })
		return nil
	}
	if err := s.start(r); err != nil {
		closeFD(fd)
		return m.bad("queue", uint64(r.index), err)
	}
	r.q.setKick(fd)
	// Without PROTOCOL_FEATURES there is no SET_VRING_ENABLE either.
	r.enabled = r.enabled || s.features&featureProtocolFeatures == 0
	s.goOn()
	r.resume()
	return nil
}

func (s *session) start(r *ring) error {
	log := s.logState(r)
	q, err := newQueue(ringConfig{
		index: r.index, size: r.size,
		descUser: r.addr.desc, availUser: r.addr.avail, usedUser: r.addr.used,
		packed:   s.packed(),
		eventIdx: s.features&featureEventIdx != 0,
		indirect: s.features&featureIndirectDesc != 0,
		base:     r.base,
		logUsed:  log.used, logGuestAddr: log.addr,
	}, s.mem, log.log, s.inflight)
	if err != nil {
		return err
	}
	r.q, r.logging, r.region, r.started = q, log, s.inflight, true
	r.broken = nil
	q.setCall(dupFD(r.call))
	q.setErr(dupFD(r.err))
	s.server.count.ringStarts.Add(1)
	s.server.queues.started(r.index, q)
	return nil
}

// setVringCall is legal at any time and must not lose a completion's notification between
// the old and the new eventfd; the new one is written once, so that a completion whose
// interrupt was lost with a dead backend is noticed.
func (s *session) setVringCall(m *message) error {
	r, fd, err := s.vringFD(m)
	if err != nil {
		return err
	}
	closeFD(r.call)
	r.call = fd
	if r.q != nil {
		r.q.setCall(dupFD(fd))
		return nil
	}
	signalFD(fd)
	return nil
}

func (s *session) setVringErr(m *message) error {
	r, fd, err := s.vringFD(m)
	if err != nil {
		return err
	}
	closeFD(r.err)
	r.err = fd
	if r.q != nil {
		r.q.setErr(dupFD(fd))
	}
	return nil
}

// vringFD decodes KICK, CALL and ERR. The descriptor is the caller's, -1 with the NOFD flag.
// Only eventfds are taken: a write to a pipe that nobody reads would never return.
func (s *session) vringFD(m *message) (*ring, int, error) {
	v := m.u64()
	if v&^(vringNoFD|0xff) != 0 {
		return nil, -1, m.bad("payload", v, errVringBits)
	}
	r, err := s.ringOf(m, v&0xff)
	if err != nil {
		return nil, -1, err
	}
	if v&vringNoFD != 0 {
		return r, -1, nil
	}
	if len(m.fds) == 0 {
		return nil, -1, m.bad("payload", v, errNoFD)
	}
	if !isEventFD(m.fds[0]) {
		return nil, -1, m.bad("file descriptor", v, errNoEventFD)
	}
	return r, m.take(0), nil
}

// setVringEnable comes for every queue of the device, whether the guest has set it up or not.
func (s *session) setVringEnable(m *message) error {
	v := decodeVringState(m.payload)
	r, err := s.ringOf(m, uint64(v.index))
	if err != nil {
		return err
	}
	if v.num > 1 {
		return m.bad("enable", uint64(v.num), errEnableValue)
	}
	r.enabled = v.num == 1
	if !r.enabled {
		r.halt()
		s.server.seen.forget()
		return nil
	}
	if !s.stopped {
		r.resume()
	}
	if r.q != nil && s.server.seen.stale(s.dev) {
		s.announceConfig()
	}
	return nil
}

// getVringBase stops a ring for good: with the reply every request is finished, published
// and marked dirty, its inflight entries are clear, and nothing is written any more. (What a Stopper keeps
// back, or has not begun to do again, stays in the inflight region for the next start.) A ring
// that was never started here has no base: answering 0 would let QEMU run it from there, but
// after a lost connection QEMU takes the used index, which is right.
func (s *session) getVringBase(m *message) (reply, error) {
	v := decodeVringState(m.payload)
	r, err := s.ringOf(m, uint64(v.index))
	if err != nil {
		return reply{}, err
	}
	if !r.started {
		return reply{}, m.bad("queue", uint64(v.index), errNeverStarted)
	}
	s.stopAll()
	s.dismantle(r, true)
	return payloadReply(vringState{v.index, r.base}.append(nil)), nil
}

// dismantle drains a started ring, keeps its base and drops its Queue, so that no state of
// it lives on: a COLO secondary is started again at its primary's index, and with the
// inflight region that it had itself.
func (s *session) dismantle(r *ring, clearRegion bool) {
	if r.q == nil {
		return
	}
	r.halt()
	s.halting()
	r.wait()
	r.base = r.q.base()
	if clearRegion && r.region != nil && r.q.settled() {
		r.region.clear(r.index)
	}
	s.server.queues.stopped(r.index)
	r.q.close()
	r.q, r.region = nil, nil
	s.sweepRegions()
}

// dupFD duplicates a descriptor, -1 for none or if the process has no more of them: the
// queue then goes without notification instead of the session without a queue.
func dupFD(fd int) int {
	if fd < 0 {
		return -1
	}
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return d
}

// isEventFD asks the kernel what kind of file a descriptor is. Without /proc it believes the
// front end.
func isEventFD(fd int) bool {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err != nil || name == "anon_inode:[eventfd]"
}
