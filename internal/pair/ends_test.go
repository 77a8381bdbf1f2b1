package pair

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// TestSecondaryGone has the primary go on alone, and then brings the same partner back: only what has changed
// is sent.
func TestSecondaryGone(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.checkpoint()
	d.p.machine.guest.quiet()
	d.s.close()
	d.p.await("alone")
	until(t, "the machine goes on", d.p.machine.running)
	begun := d.p.machine.guest.begun()
	d.p.machine.guest.write(5)
	until(t, "five writes", func() bool { return d.p.machine.guest.begun() == begun+5 })
	d.p.check("alone")
	generation := d.p.pair.Status().Generation

	d.s = startSide(t, d.dirs[1], sideOptions{secondary: true, salt: 3})
	d.p.machine.again()
	must(t, d.p.pair.Reprotect(context.Background(), d.s.net.Addr().String(), "tcp:127.0.0.1:1"))
	d.join()
	if now := d.p.pair.Status().Generation; now < generation {
		t.Errorf("the generation was %d and is %d", generation, now)
	}
	if sent := d.p.sent(); sent == 0 || sent > 64<<10 {
		t.Errorf("%d bytes sent for five changed blocks", sent)
	}
	d.some()
	d.checkpoint()
	d.s.machine.guest.quiet()
	d.die()
	d.takeOver()
	d.s.check("taken over")
}

// TestThereAndBack gives the survivor of a takeover the old primary as its secondary.
func TestThereAndBack(t *testing.T) {
	d := newDuo(t)
	for range 3 {
		d.some()
		d.checkpoint()
		d.s.machine.guest.quiet()
		d.die()
		d.takeOver()
		d.s.check("taken over")
		d.dirs[0], d.dirs[1] = d.dirs[1], d.dirs[0]
		d.p = d.s
		d.s = startSide(t, d.dirs[1], sideOptions{secondary: true, salt: 3})
		d.p.machine.again()
		must(t, d.p.pair.Reprotect(context.Background(), d.s.net.Addr().String(), "tcp:127.0.0.1:1"))
		d.join()
		if sent := d.p.sent(); sent > testSize*3/4 {
			t.Errorf("%d bytes sent for some changed blocks", sent)
		}
	}
}

// sent is how much has gone over in the session that there is.
func (s *side) sent() (n uint64) {
	s.t.Helper()
	must(s.t, s.pair.onLoop(context.Background(), func() error {
		n = s.pair.mirror.Stats().Sent
		return nil
	}))
	return n
}

// late is a pair whose primary has nobody to rely on: the promise ran out, and the witness does not answer.
// A write of its guest is done and not told.
type late struct {
	*duo
	told []uint64 // what was told before
	cut  *atomic.Bool
	wake func() // the secondary
}

func newLate(t *testing.T) *late {
	cut := &atomic.Bool{}
	w := witness.NewMemory(mirror.BootClock, limit)
	d := newDuoWith(t, w.For("a", func() bool { return !cut.Load() }), w.For("b", nil))
	d.checkpoint()
	d.some() // its ring runs again
	d.p.machine.guest.quiet()
	cut.Store(true)
	l := &late{duo: d, cut: cut, wake: d.s.halt()}
	until(t, "the primary has nobody to rely on", func() bool {
		d.p.pair.run(func() { d.p.pair.fence.serveUntil(mirror.BootClock()) })
		return d.p.pair.Status().State == "giving up"
	})
	l.told = d.p.machine.guest.told()
	before := content(t, d.p.volume)
	d.p.machine.guest.write(1)
	until(t, "the write is in the store", func() bool {
		return string(content(t, d.p.volume)) != string(before)
	})
	return l
}

// untold looks whether the guest knows of the write.
func (l *late) untold(when string) {
	l.t.Helper()
	for range 100 { // as many chances to look
		if now := l.p.machine.guest.told(); !equal(l.told, now) {
			l.t.Fatalf("%s: the guest was told of a write that nobody may know of", when)
		}
	}
}

// decided has the witness answer.
func (l *late) decided() {
	l.t.Helper()
	l.cut.Store(false)
	until(l.t, "the guest is told", func() bool { return !equal(l.told, l.p.machine.guest.told()) })
	l.p.await("alone")
	l.p.check("alone")
	l.wake()
	l.s.await("poisoned")
}

// TestNothingPastTheDeadline lets the secondary's promise run out while nobody decides: what the guest writes
// then is done and not told, until it is certain that nobody else serves.
func TestNothingPastTheDeadline(t *testing.T) {
	l := newLate(t)
	defer l.wake()
	l.untold("running")
	l.decided()
}

// TestStopPastTheDeadline stops such a machine. QEMU gets its answer, though a request is held back: that
// stays in flight. The rings wait for the decision, and then the guest is told.
func TestStopPastTheDeadline(t *testing.T) {
	l := newLate(t)
	defer l.wake()
	f := l.p.pair.fence
	f.mu.Lock()
	f.hold = time.Millisecond
	f.mu.Unlock()
	m := l.p.machine
	m.big.Lock()
	stopped := m.stop()
	m.big.Unlock()
	if !stopped {
		t.Fatal("the stop was not answered")
	}
	l.untold("stopped")
	m.big.Lock()
	m.resume()
	m.big.Unlock()
	l.untold("started again")
	l.decided()
}

func equal(a, b []uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// halt has a side do nothing until the function it returns is called.
func (s *side) halt() (wake func()) {
	held, on := make(chan struct{}), make(chan struct{})
	s.pair.run(func() { close(held); <-on })
	<-held
	var once atomic.Bool
	return func() {
		if once.CompareAndSwap(false, true) {
			close(on)
		}
	}
}

// TestFailingDisk has the primary hand its guest over before that sees an error.
func TestFailingDisk(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.p.machine.guest.quiet()
	told := d.p.machine.guest.told()
	d.checkpoint()
	d.p.disk.broken.Store(true)
	d.p.machine.guest.write(-1)
	<-d.p.machine.gone // its belay has ended it
	d.s.machine.leave("error")
	until(t, "the secondary is the primary", func() bool { return d.s.pair.Status().Role == "primary" })
	d.s.check("handed over")
	newer(t, told, d.s.machine.guest.told())
	d.p.close()
	if !errors.Is(d.p.end, ErrOut) {
		t.Errorf("the primary ended with %v", d.p.end)
	}
}

// TestFailingDiskAlone lets the guest have its error where nobody else could serve it.
func TestFailingDiskAlone(t *testing.T) {
	d := newDuo(t)
	d.s.close()
	d.p.await("alone")
	until(t, "the machine goes on", d.p.machine.running)
	d.p.machine.guest.quiet()
	d.p.machine.guest.expectErrors()
	d.p.disk.broken.Store(true)
	d.p.machine.guest.write(1)
	until(t, "the guest sees the error", func() bool { return d.p.machine.guest.errors() > 0 })
}

// TestFailingDiskOfSecondary poisons it: the primary goes on.
func TestFailingDiskOfSecondary(t *testing.T) {
	d := newDuo(t)
	d.s.disk.broken.Store(true)
	d.s.machine.guest.write(-1)
	<-d.s.machine.gone
	d.p.await("alone")
	d.p.check("alone")
	if state, ok := d.s.volume.Pair(); !ok || !state.Poisoned {
		t.Errorf("the secondary's volume says %+v", state)
	}
}

// TestPrimaryQEMUDies has the secondary take over by the primary's own word, without an operator.
func TestPrimaryQEMUDies(t *testing.T) {
	d := newDuo(t)
	d.some()
	d.checkpoint()
	d.p.machine.kill()
	d.s.machine.leave("error")
	until(t, "the secondary is the primary", func() bool { return d.s.pair.Status().Role == "primary" })
	d.s.check("taken over")
}

// TestGuestShutsDown ends both: nobody takes over.
func TestGuestShutsDown(t *testing.T) {
	d := newDuo(t)
	d.p.machine.guest.quiet()
	d.p.machine.monitor.Event("SHUTDOWN", map[string]any{"guest": true, "reason": "guest-shutdown"})
	<-d.s.machine.gone
	d.p.await("alone")
	if s := d.s.pair.Status(); s.Role != "secondary" {
		t.Errorf("a guest that was shut down goes on: %+v", s)
	}
}

// TestMeddling poisons a secondary whose machine somebody let run.
func TestMeddling(t *testing.T) {
	d := newDuo(t)
	d.s.machine.monitor.Event("RESET", map[string]any{"guest": false, "reason": "host-qmp-system-reset"})
	<-d.s.machine.gone
	d.p.await("alone")
	d.p.check("alone")
}

// TestMonitorLost is a gap in the events of a secondary, which cannot be undone.
func TestMonitorLost(t *testing.T) {
	d := newDuo(t)
	d.s.machine.monitor.Cut()
	<-d.s.machine.gone
	d.p.await("alone")
	d.p.check("alone")
}
