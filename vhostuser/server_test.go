package vhostuser_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// TestSilentPeer : whoever connects and says nothing, or half a message, does not keep the
// server from stopping.
func TestSilentPeer(t *testing.T) {
	for _, say := range [][]byte{nil, {1, 0, 0, 0, 1}} {
		b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
		f := connect(t, b, vhosttest.Options{Bare: true})
		must(t, f.SendRaw(say))
		second := connect(t, b, vhosttest.Options{Bare: true})
		eventually(t, "connected", b.Connected)
		must(t, b.stop())
		if _, err := second.Recv(); err == nil {
			t.Error("the waiting front end was answered")
		}
	}
}

// TestDeafPeer : whoever asks and never reads the answers does not either.
func TestDeafPeer(t *testing.T) {
	b := serve(t, newRAMDisk(t, 1<<20, 1), vhostuser.Options{})
	f := connect(t, b, vhosttest.Options{Bare: true, Timeout: 100 * time.Millisecond})
	for f.Tell(vhosttest.GetFeatures, nil) == nil {
		// until both socket buffers are full
	}
	must(t, b.stop())
}

// TestOneAtATime : a new front end is served when the old one's requests have ended.
func TestOneAtATime(t *testing.T) { each(t, oneAtATime) }

func oneAtATime(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	d.held = func(bool, uint64) bool { return true }
	b := serve(t, d, vhostuser.Options{})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 4, page)
	read(t, disk, 4)
	eventually(t, "the device has all requests", func() bool { return d.executed.Load() == 4 })

	o.Timeout, o.Bare = short, true
	second := connect(t, b, o)
	must(t, f.Disconnect())
	if _, err := second.Ask(vhosttest.GetFeatures, nil); err == nil {
		t.Fatal("served beside requests of the old front end")
	}
	d.gate.release()
	if m, err := second.Recv(); err != nil || m.Request != vhosttest.GetFeatures {
		t.Fatal("not served after the old front end was gone:", err)
	}
	must(t, second.Disconnect())

	// The requests were completed into the old memory, and are not executed again.
	must(t, f.Reconnect(b.path))
	reap(t, disk, 4)
	if n := d.executed.Load(); n != 4 {
		t.Errorf("%d requests executed, want 4", n)
	}
}

// TestStopInMidFlight : a server that ends finishes what its device has taken.
func TestStopInMidFlight(t *testing.T) { each(t, stopInMidFlight) }

func stopInMidFlight(t *testing.T, o vhosttest.Options) {
	d := newRAMDisk(t, 1<<20, 1)
	d.held = func(_ bool, s uint64) bool { return s%16 == 0 }
	b := serve(t, d, vhostuser.Options{})
	f := started(t, b, o)
	disk := newDisk(t, f, 0, 8, page)
	read(t, disk, 8) // every other one stays
	reap(t, disk, 4)
	stopped := make(chan error, 1)
	go func() { stopped <- b.stop() }()
	select {
	case <-stopped:
		t.Fatal("the server ended with requests in flight")
	case <-time.After(short):
	}
	d.gate.release()
	must(t, <-stopped)
	reap(t, disk, 4)
	if d.runs.Load() != 0 || !clean(f.Inflight()) {
		t.Error("something was left behind")
	}
}

// TestServeNeedsUnixSockets : another kind of listener is a mistake that harms nobody.
func TestServeNeedsUnixSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := vhostuser.NewServer(newRAMDisk(t, 1<<20, 1), nil, vhostuser.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("answered over TCP")
	}
	must(t, c.Close())
	cancel()
	must(t, <-done)
}

// TestClosedListener : Serve does not spin on a listener that is gone.
func TestClosedListener(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	must(t, err)
	must(t, l.Close())
	s := vhostuser.NewServer(newRAMDisk(t, 1<<20, 1), nil, vhostuser.Options{})
	if err := s.Serve(context.Background(), l); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
