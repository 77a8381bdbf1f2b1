package vhostuser

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// concurrentRequests pass between a guest and a device on two goroutines.
const concurrentRequests = 20000

// patience, in milliseconds, ends a test whose wake-up was lost; it is no measure of time.
const patience = 60_000

// TestConcurrent lets guest and device sleep whenever the rules allow it. A wake-up lost
// between publishing and looking at an event word stops both; torn or early data fails the
// comparison; the race detector sees the memory, which is on the heap.
func TestConcurrent(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		bothLayouts(t, func(t *testing.T, packed bool) {
			r := newRig(t, rigOptions{packed: packed, eventIdx: eventIdx, size: 4})
			call, giveCall := eventfd(t)
			kick, giveKick := eventfd(t)
			r.q.setCall(giveCall)
			r.q.setKick(giveKick)
			ended := make(chan error, 1)
			go func() { ended <- echo(r.q) }()
			guestLoop(r, kick, call)
			r.q.requestStop()
			must(t, <-ended)
		})
	}
}

// echo is a device: it writes what it reads, plus one.
func echo(q *Queue) error {
	var c Chain
	for {
		ok, err := q.Next(&c)
		if err != nil {
			return err
		}
		if ok {
			var b [1]byte
			if _, err := c.CopyIn(b[:], 0); err != nil {
				return err
			}
			b[0]++
			if _, err := c.CopyOut(b[:], 0); err != nil {
				return err
			}
			q.Complete(&c, 1)
			continue
		}
		if err := q.Publish(); err != nil {
			return err
		}
		if more, err := q.Arm(); err != nil || more {
			if err != nil {
				return err
			}
			continue
		}
		if q.Stopping() {
			return nil
		}
		if err := sleep(q.KickFD(), q.StopFD()); err != nil {
			return err
		}
		q.Disarm()
	}
}

var errLostWakeUp = errors.New("nobody woke the sleeper")

// sleep waits for one of two eventfds and resets the first.
func sleep(fd, stop int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, patience)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return errLostWakeUp
		}
		var b [8]byte
		_, _ = unix.Read(fd, b[:]) // EAGAIN: it was the other
		return nil
	}
}

// guestLoop keeps the ring full and sleeps when it is.
func guestLoop(r *rig, kick, call int) {
	r.Helper()
	sent := map[uint16]question{}
	added, got := 0, 0
	for got < concurrentRequests {
		n := 0
		for ; added < concurrentRequests && r.drv.room() > 1; added++ {
			at := dataAt + 8*uint64(added%64)
			guestBytes(r.mem, at, 1)[0] = byte(added)
			sent[r.drv.add(false, seg{at, 1, false}, seg{at + 1, 1, true})] = question{at, byte(added)}
			n += 2
		}
		if n > 0 && r.drv.wantsKick(n/placesPerChain(r)) {
			writeEvent(kick)
		}
		r.drv.disable()
		polled := pollAll(r, sent)
		got += polled
		if polled == 0 && !r.drv.enable() {
			if err := sleep(call, -1); err != nil {
				r.Fatalf("after %d of %d: %v", got, added, err)
			}
		}
	}
}

// placesPerChain relates descriptors added to what wantsKick counts: entries of the avail
// ring, or places of a packed ring.
func placesPerChain(r *rig) int {
	if r.q.packed {
		return 1
	}
	return 2
}

// pollAll takes what came back and compares each answer with its question.
func pollAll(r *rig, sent map[uint16]question) int {
	r.Helper()
	for n := 0; ; n++ {
		id, _, ok := r.drv.poll()
		if !ok {
			return n
		}
		q, known := sent[id]
		if got := guestBytes(r.mem, q.at+1, 1)[0]; !known || got != q.number+1 {
			r.Fatalf("chain %d (sent: %v): answer %d to %d", id, known, got, q.number)
		}
		delete(sent, id)
	}
}

// question is a number sent and where the answer will be: behind it.
type question struct {
	at     uint64
	number byte
}
