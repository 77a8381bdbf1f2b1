package uring

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// eachMode runs test once per completion mode that this kernel has.
func eachMode(t *testing.T, sq, cq uint32, test func(t *testing.T, r *Ring)) {
	t.Helper()
	for i, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			test(t, open(t, sq, cq, i))
		})
	}
}

func open(t *testing.T, sq, cq uint32, first int) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := newRing(sq, cq, first)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("this machine refuses io_uring: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// one waits for exactly one completion.
func one(t *testing.T, r *Ring) Completion {
	t.Helper()
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	var out [2]Completion
	if n := r.Reap(out[:]); n != 1 {
		t.Fatalf("reaped %d completions, want 1", n)
	}
	return out[0]
}

func iovec(pieces ...[]byte) []unix.Iovec {
	v := make([]unix.Iovec, len(pieces))
	for i, p := range pieces {
		v[i].Base = &p[0]
		v[i].SetLen(len(p))
	}
	return v
}

func TestVectoredIO(t *testing.T) {
	eachMode(t, 8, 16, func(t *testing.T, r *Ring) {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fd := int(f.Fd())

		if !r.Writev(fd, iovec([]byte("hel"), []byte("lo world")), 5, 1) {
			t.Fatal("empty ring is full")
		}
		if c := one(t, r); c != (Completion{1, 11}) {
			t.Fatalf("writev completed as %+v", c)
		}
		if !r.Fdatasync(fd, 2) {
			t.Fatal("ring is full")
		}
		if c := one(t, r); c != (Completion{2, 0}) {
			t.Fatalf("fdatasync completed as %+v", c)
		}
		a, b := make([]byte, 4), make([]byte, 100)
		r.Readv(fd, iovec(a, b), 5, 3)
		if c := one(t, r); c != (Completion{3, 11}) {
			t.Fatalf("readv completed as %+v", c)
		}
		if got := string(a) + string(b[:7]); got != "hello world" {
			t.Fatalf("read %q", got)
		}
		r.Readv(-1, iovec(a), 0, 4)
		if c := one(t, r); c != (Completion{4, -int32(unix.EBADF)}) {
			t.Fatalf("readv of no file completed as %+v", c)
		}
	})
}

func eventfd(t *testing.T, flags int) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

var one8 = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func signal(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, one8); err != nil {
		t.Error(err)
	}
}

func TestWaitForEventfd(t *testing.T) {
	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		eachMode(t, 8, 16, func(t *testing.T, r *Ring) {
			fd := eventfd(t, flags)
			r.Poll(fd, 1)
			r.Nop(2)
			if c := one(t, r); c.Tag != 2 {
				t.Fatalf("%+v came before the eventfd was written", c)
			}
			woken := make(chan struct{})
			go func() { // blocks this thread in Wait meanwhile, or comes first: both must work
				defer close(woken)
				signal(t, fd)
			}()
			if c := one(t, r); c.Tag != 1 || c.Res&unix.POLLIN == 0 {
				t.Fatalf("poll completed as %+v", c)
			}
			<-woken
			buf := make([]byte, 8)
			r.Read(fd, buf, 3)
			if c := one(t, r); c != (Completion{3, 8}) || buf[0] != 1 {
				t.Fatalf("read completed as %+v with %v", c, buf)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	eachMode(t, 8, 16, func(t *testing.T, r *Ring) {
		r.Read(eventfd(t, 0), make([]byte, 8), 7)
		if err := r.Submit(); err != nil {
			t.Fatal(err)
		}
		r.Cancel(7, 8)
		got := map[uint64]int32{}
		for len(got) < 2 {
			if err := r.Wait(); err != nil {
				t.Fatal(err)
			}
			var out [1]Completion
			for r.Reap(out[:]) == 1 {
				got[out[0].Tag] = out[0].Res
			}
		}
		if got[7] != -int32(unix.ECANCELED) || got[8] != 0 {
			t.Fatalf("results %v", got)
		}
	})
}

// A full ring refuses, and refusing is decided by what is outstanding: results that nobody
// reaped count, so the completion queue cannot overflow.
func TestFullRingRefuses(t *testing.T) {
	eachMode(t, 4, 8, func(t *testing.T, r *Ring) {
		prepared := 0
		for range 5 {
			for r.Nop(uint64(prepared)) {
				prepared++
			}
			if err := r.Submit(); err != nil {
				t.Fatal(err)
			}
		}
		if prepared != len(r.cqes) || r.Outstanding() != prepared || r.Room() != 0 {
			t.Fatalf("prepared %d operations with %d completion entries", prepared, len(r.cqes))
		}
		seen := make([]bool, prepared)
		for reaped := 0; reaped < prepared; {
			if err := r.Wait(); err != nil {
				t.Fatal(err)
			}
			var out [3]Completion
			n := r.Reap(out[:])
			for _, c := range out[:n] {
				if seen[c.Tag] {
					t.Fatalf("operation %d completed twice", c.Tag)
				}
				seen[c.Tag] = true
			}
			reaped += n
		}
		if r.Outstanding() != 0 || !r.Nop(0) {
			t.Fatal("a drained ring is still full")
		}
		one(t, r)
	})
}

// Signals, of which Go sends itself many, interrupt a wait but never end it early.
func TestWaitSurvivesSignals(t *testing.T) {
	r := open(t, 8, 16, 0)
	fd := eventfd(t, 0)
	pid, tid := unix.Getpid(), unix.Gettid()
	r.Read(fd, make([]byte, 8), 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 {
			if err := unix.Tgkill(pid, tid, unix.SIGURG); err != nil {
				t.Error(err)
			}
			runtime.Gosched()
		}
		signal(t, fd)
	}()
	if c := one(t, r); c != (Completion{1, 8}) {
		t.Fatalf("completed as %+v", c)
	}
	<-done
}

func TestNothingIsAllocated(t *testing.T) {
	eachMode(t, 16, 32, func(t *testing.T, r *Ring) {
		fd := eventfd(t, 0)
		buf := make([]byte, 8)
		iov := iovec(make([]byte, 8))
		out := make([]Completion, 16)
		got := testing.AllocsPerRun(100, func() {
			signal(t, fd)
			r.Nop(1)
			r.Read(fd, buf, 2)
			r.Readv(-1, iov, 0, 3)
			for r.Outstanding() > 0 {
				if err := r.Wait(); err != nil {
					t.Fatal(err)
				}
				r.Reap(out)
			}
		})
		if got != 0 {
			t.Fatalf("%v allocations per round", got)
		}
	})
}

func BenchmarkNop(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := New(64, 128)
	if err != nil {
		b.Skip(err)
	}
	defer r.Close()
	out := make([]Completion, 8)
	for b.Loop() {
		r.Nop(1)
		if err := r.Wait(); err != nil {
			b.Fatal(err)
		}
		r.Reap(out)
	}
}
