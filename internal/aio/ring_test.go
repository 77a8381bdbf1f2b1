package aio

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/uring"
)

// refused makes an engine whose watch of fd was answered as old kernels answer the read of a
// descriptor with O_NONBLOCK that has nothing to read: they do not wait.
func refused(t *testing.T, fd int) *ringEngine {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	made, err := New(Uring, 8)
	if errors.Is(err, uring.ErrUnsupported) {
		t.Skipf("this machine refuses io_uring: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
	e := made.(*ringEngine)
	e.watches = append(e.watches, ringWatch{tag: 1, fd: fd})
	return e
}

var again = Completion{Tag: 1, Res: -int32(unix.EAGAIN)}

func quiet(t *testing.T, e Engine) {
	t.Helper()
	var out [4]Completion
	for range 3 {
		if n, err := e.Wait(out[:], false); n != 0 || err != nil {
			t.Fatalf("unexpected completions %v, error %v", out[:n], err)
		}
	}
}

func TestRefusedReadIsRepeatedAfterAPoll(t *testing.T) {
	fd := eventfd(t, unix.EFD_NONBLOCK)
	e := refused(t, fd)
	if e.sift([]Completion{again}) != 0 {
		t.Fatal("the owner sees EAGAIN")
	}
	quiet(t, e)
	signal(t, fd)
	expect(t, e, 1, 8)
	if len(e.watches) != 0 {
		t.Fatal("the watch is still armed")
	}
}

func TestUnwatchDuringPoll(t *testing.T) {
	e := refused(t, eventfd(t, unix.EFD_NONBLOCK))
	e.sift([]Completion{again})
	quiet(t, e)
	e.Unwatch(1)
	expect(t, e, 1, -int32(unix.ECANCELED))
}

// The cancellation finds nothing when the refusal is under way already.
func TestUnwatchCrossesRefusal(t *testing.T) {
	e := refused(t, eventfd(t, unix.EFD_NONBLOCK))
	e.Unwatch(1)
	quiet(t, e)
	c := []Completion{again}
	if e.sift(c) != 1 || c[0].Res != -int32(unix.ECANCELED) {
		t.Fatalf("the watch ended with %v", c)
	}
}
