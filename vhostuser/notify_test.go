package vhostuser

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCallRules : after a batch of n the guest is told if, and only if, the place it named
// lies among the n, at every position of the index, over the wraps too.
func TestCallRules(t *testing.T) {
	const size = 8
	for start := range 2*size + 1 {
		for n := 1; n <= size; n++ {
			for event := -size; event <= size; event++ {
				t.Run(fmt.Sprintf("split/%d/%d/%d", start, n, event), func(t *testing.T) {
					base := uint16(65536 - size + start) // used.idx wraps on the way
					s := &split{ringConfig: ringConfig{size: size, eventIdx: true}, avail: make([]byte, 24)}
					s.usedIdx = base + uint16(n)
					poke16(s.avail, 4+2*size, base+uint16(event))
					checkCall(t, s, n, event)
				})
				if event == size {
					continue // a packed ring cannot tell it from the place a lap before
				}
				t.Run(fmt.Sprintf("packed/%d/%d/%d", start, n, event), func(t *testing.T) {
					base := spot{0, true}.after(start%size, size)
					base.wrap = base.wrap != (start >= size)
					p := &packed{ringConfig: ringConfig{size: size, eventIdx: true}, driver: heapMapping(4).bytes}
					p.used = base.after(n, size)
					at := base.after((event+2*size)%(2*size)%size, size)
					at.wrap = at.wrap != ((event+2*size)%(2*size) >= size)
					store32(p.driver, 0, at.bits()|uint32(eventDesc)<<16)
					checkCall(t, p, n, event)
				})
			}
		}
	}
}

func checkCall(t *testing.T, l layout, n, event int) {
	t.Helper()
	done := make([]usedElem, n)
	for i := range done {
		done[i].slots = 1
	}
	if got, want := l.wantsCall(done), event >= 0 && event < n; got != want {
		t.Errorf("told: %v, want %v", got, want)
	}
}

// TestCallFlags : the guest's switch for all notifications, where there are no events, and
// values of its event area that mean nothing.
func TestCallFlags(t *testing.T) {
	s := &split{ringConfig: ringConfig{size: 4}, avail: make([]byte, 12)}
	for flags, want := range map[uint16]bool{0: true, 1: false, 2: true, 3: false} {
		poke16(s.avail, 0, flags)
		if s.wantsCall(make([]usedElem, 1)) != want {
			t.Errorf("split, flags %d: want %v", flags, want)
		}
	}
	p := &packed{ringConfig: ringConfig{size: 4}, driver: heapMapping(4).bytes}
	for _, tt := range []struct {
		word  uint32
		event bool
		want  bool
	}{
		{uint32(eventEnable) << 16, true, true}, {uint32(eventDisable) << 16, true, false},
		{uint32(eventDesc) << 16, false, true}, // without the feature: rather once too often
		{uint32(eventDesc)<<16 | 0x7fff, true, true}, {3 << 16, true, true},
	} {
		p.eventIdx = tt.event
		store32(p.driver, 0, tt.word)
		if p.wantsCall(make([]usedElem, 1)) != tt.want {
			t.Errorf("packed, event area %#x: want %v", tt.word, tt.want)
		}
	}
}

// TestPublishOnce : a batch is one notification, an empty batch none, and setCall writes the
// new descriptor once.
func TestPublishOnce(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 8})
		own, give := eventfd(t)
		r.q.setCall(give)
		if n := signals(t, own); n != 1 {
			t.Errorf("setCall wrote %d times", n)
		}
		chains := make([]Chain, 5)
		for i := range chains {
			r.drv.add(false, seg{dataAt, 1, false})
			r.next(&chains[i])
			r.q.Complete(&chains[i], 0)
		}
		r.wantNoUsed()
		r.publish()
		r.publish()
		if n := signals(t, own); n != 1 || r.q.completed() != 5 {
			t.Errorf("a batch of %d gave %d notifications", r.q.completed(), n)
		}
		for range chains {
			r.drv.poll()
		}
		r.drv.disable()
		passOne(r, seg{dataAt, 1, true})
		if n := signals(t, own); n != 0 {
			t.Errorf("%d notifications that the guest did not want", n)
		}
		r.q.setCall(-1)
		r.drv.enable()
		passOne(r, seg{dataAt, 1, true})
	})
}

// TestFullEventfd : a front end can fill the count of an eventfd, and a write then waits until
// somebody reads it, unless the front end chose O_NONBLOCK. It must not wait here.
func TestFullEventfd(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		own, give := eventfd(t)
		if err := unix.SetNonblock(own, false); err != nil {
			t.Fatal(err)
		}
		fill := func() { // one below the count that cannot be
			_, _ = unix.Write(own, binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1))
		}
		fill()
		r := newRig(t, rigOptions{packed: packed, size: 8})
		second, err := unix.Dup(own)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.q.setCall(give)
			passOne(r, seg{dataAt, 1, true})
			r.q.setErr(second)
			r.q.signalError()
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("a write to a full eventfd waits")
			signals(t, own) // lets it go on
			<-done
		}
		signals(t, own)
		passOne(r, seg{dataAt, 1, true})
		if n := signals(t, own); n != 1 {
			t.Errorf("%d notifications after the front end read its eventfd, want 1", n)
		}
	})
}

// TestArm : a chain that comes before the question is reported, one that comes after it
// brings a kick, and none is asked for while disarmed.
func TestArm(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		bothLayouts(t, func(t *testing.T, packed bool) {
			r := newRig(t, rigOptions{packed: packed, eventIdx: eventIdx, size: 4})
			one := seg{dataAt, 1, true}
			for range 2 * 65536 {
				r.q.Disarm()
				wantArm(r, false)
				r.drv.add(false, one)
				if !r.drv.wantsKick(1) {
					t.Fatal("no kick for the chain that was waited for")
				}
				wantArm(r, true)
				var c Chain
				r.next(&c)
				r.q.Complete(&c, 1)
				r.publish()
				r.drv.poll()
				r.q.Disarm()
				r.drv.add(false, one)
				if r.drv.wantsKick(1) {
					t.Fatal("a kick while disarmed")
				}
				r.next(&c)
				r.q.Complete(&c, 1)
				r.publish()
				r.drv.poll()
			}
		})
	}
}

func wantArm(r *rig, want bool) {
	r.Helper()
	if more, err := r.q.Arm(); more != want || err != nil {
		r.Fatalf("Arm: %v, %v; want %v", more, err, want)
	}
}

// TestArmAfterDeath : a backend died with notifications off; its successor turns them on.
func TestArmAfterDeath(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 4})
		r.q.Disarm()
		mem := r.mem.clone()
		next := attach(t, mem, r.drv.at(mem), rigOptions{})
		wantArm(next, false)
		next.drv.add(false, seg{dataAt, 1, true})
		if !next.drv.wantsKick(1) {
			t.Error("no kick")
		}
	})
}

// TestNeighbourOfAvailEvent : the two bytes behind the used ring are the guest's.
func TestNeighbourOfAvailEvent(t *testing.T) {
	r := newRig(t, rigOptions{eventIdx: true, size: 4})
	used := r.drv.(*splitDriver).used
	poke16(used, 4+8*4+2, 0xbeef)
	for range 10 {
		passOne(r, seg{dataAt, 1, true})
		wantArm(r, false)
	}
	if got := load16(used, 4+8*4+2); got != 0xbeef || load16(used, 4+8*4) != 10 {
		t.Errorf("neighbour %#x, avail_event %d", got, load16(used, 4+8*4))
	}
}

// TestStop : requestStop is seen by flag and descriptor, and undone.
func TestStop(t *testing.T) {
	q := newRig(t, rigOptions{size: 4}).q
	for range 2 {
		if q.Stopping() || readable(t, q.StopFD(), 0) {
			t.Error("stopping before it was asked to")
		}
		q.requestStop()
		q.requestStop()
		if !q.Stopping() || !readable(t, q.StopFD(), 0) {
			t.Error("not stopping")
		}
		q.rearmStop()
	}
	if q.Index() != 0 || q.Size() != 4 || q.KickFD() != -1 {
		t.Error("index, size or kick of the queue")
	}
	own, give := eventfd(t)
	q.setErr(give)
	q.signalError()
	if signals(t, own) != 1 {
		t.Error("the error eventfd was not written")
	}
}

// readable waits up to timeout milliseconds for an eventfd.
func readable(t testing.TB, fd, timeout int) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, timeout)
		if err == unix.EINTR {
			continue
		}
		must(t, err)
		return n > 0
	}
}
