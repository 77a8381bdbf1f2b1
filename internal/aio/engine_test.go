package aio

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/uring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachKind runs test with an engine of each kind.
func eachKind(t *testing.T, depth int, test func(t *testing.T, e Engine)) {
	t.Helper()
	for _, kind := range []Kind{Uring, Inline, Threads} {
		t.Run(string(kind), func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			e, err := New(kind, depth)
			if errors.Is(err, uring.ErrUnsupported) {
				t.Skipf("this machine refuses io_uring: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind() != kind {
				t.Fatalf("the engine is of kind %s", e.Kind())
			}
			test(t, e)
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func tempFile(t testing.TB) int {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

func eventfd(t testing.TB, flags int) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func signal(t testing.TB, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, oneCount); err != nil {
		t.Error(err)
	}
}

func iovec(pieces ...[]byte) []unix.Iovec {
	v := make([]unix.Iovec, len(pieces))
	for i, p := range pieces {
		v[i].Base = &p[0]
		v[i].SetLen(len(p))
	}
	return v
}

// collect waits for n completions and returns them by tag.
func collect(t testing.TB, e Engine, n int) map[uint64]int32 {
	t.Helper()
	got := map[uint64]int32{}
	for len(got) < n {
		var out [5]Completion
		k, err := e.Wait(out[:], true)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range out[:k] {
			if _, twice := got[c.Tag]; twice {
				t.Fatalf("tag %d completed twice", c.Tag)
			}
			got[c.Tag] = c.Res
		}
	}
	return got
}

func expect(t testing.TB, e Engine, tag uint64, res int32) {
	t.Helper()
	if got := collect(t, e, 1); got[tag] != res || len(got) != 1 {
		t.Fatalf("completions are %v, want result %d of tag %d", got, res, tag)
	}
}

func TestReadAndWrite(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		fd := tempFile(t)
		e.Writev(fd, iovec([]byte("to be "), []byte("or not")), 7, bio.LaneTag|1)
		expect(t, e, bio.LaneTag|1, 12)
		a, b := make([]byte, 5), make([]byte, 20)
		e.Readv(fd, iovec(a, b), 7, bio.LaneTag|2)
		expect(t, e, bio.LaneTag|2, 12) // short: the file ends there
		if got := string(a) + string(b[:7]); got != "to be or not" {
			t.Fatalf("read %q", got)
		}
		e.Readv(fd, iovec(a), 100, 3)
		expect(t, e, 3, 0)
		e.Readv(-1, iovec(a), 0, 4)
		expect(t, e, 4, -int32(unix.EBADF))
		e.Writev(fd, make([]unix.Iovec, bio.MaxVectors+1), 0, 5)
		expect(t, e, 5, -int32(unix.EINVAL))
		e.Writev(fd, nil, 0, 6)
		expect(t, e, 6, 0)
	})
}

func TestFdatasync(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		e.Fdatasync(tempFile(t), bio.LaneTag|1)
		expect(t, e, bio.LaneTag|1, 0)
		e.Fdatasync(-1, 2)
		expect(t, e, 2, -int32(unix.EBADF))
		e.Fdatasync(eventfd(t, unix.EFD_NONBLOCK), 3)
		expect(t, e, 3, -int32(unix.EINVAL))
	})
}

func TestUnmappedMemoryIsAResult(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		fd := tempFile(t)
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(page)
		v := make([]unix.Iovec, 1)
		v[0].Base = &page[:1][0]
		v[0].SetLen(4096)
		e.Writev(fd, v, 0, 1)
		expect(t, e, 1, -int32(unix.EFAULT))
	})
}

// Far more operations than the engine was made for are all done, each once.
func TestNothingIsLostInTheBacklog(t *testing.T) {
	const count = 20000
	eachKind(t, 4, func(t *testing.T, e Engine) {
		fd := tempFile(t)
		content := make([]byte, count)
		for i := range content {
			content[i] = byte(i * 7)
			e.Writev(fd, iovec(content[i:i+1]), int64(i), uint64(i))
		}
		for tag, res := range collect(t, e, count) {
			if res != 1 {
				t.Fatalf("operation %d returned %d", tag, res)
			}
		}
		back := make([]byte, count)
		e.Readv(fd, iovec(back), 0, 1)
		expect(t, e, 1, count)
		if !bytes.Equal(back, content) {
			t.Fatal("the file does not hold what was written")
		}
	})
}

func TestWatchFires(t *testing.T) {
	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		eachKind(t, 8, func(t *testing.T, e Engine) {
			early, late, never := eventfd(t, flags), eventfd(t, flags), eventfd(t, flags)
			signal(t, early)
			e.Watch(never, 1)
			e.Watch(early, 2)
			e.Watch(late, 3)
			expect(t, e, 2, 8)
			var out [4]Completion
			if n, err := e.Wait(out[:], false); n != 0 || err != nil {
				t.Fatalf("unexpected completions %v, error %v", out[:n], err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				signal(t, late)
			}()
			expect(t, e, 3, 8)
			<-done
			e.Watch(late, 4) // one shot: armed anew, and the count was taken
			signal(t, late)
			expect(t, e, 4, 8)
		})
	}
}

func TestUnwatch(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		fd := eventfd(t, unix.EFD_NONBLOCK)
		e.Watch(fd, 1)
		if err := e.Submit(); err != nil {
			t.Fatal(err)
		}
		e.Unwatch(1)
		e.Unwatch(1) // twice and unknown ones change nothing
		e.Unwatch(99)
		expect(t, e, 1, -int32(unix.ECANCELED))
		signal(t, fd)
		e.Watch(fd, 2)
		expect(t, e, 2, 8)
	})
}

// A watch that was ended takes no count any more, or says that it did.
func TestUnwatchLosesNoCount(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		fd := eventfd(t, unix.EFD_NONBLOCK)
		for range 100 {
			e.Watch(fd, 1)
			if err := e.Submit(); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				signal(t, fd)
			}()
			e.Unwatch(1)
			res := collect(t, e, 1)[1]
			<-done
			if res != 8 {
				e.Watch(fd, 2)
				expect(t, e, 2, 8)
			}
		}
	})
}

func TestWatchOfSomethingElse(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		dir, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(dir)
		e.Watch(dir, 1)
		if got := collect(t, e, 1); got[1] >= 0 {
			t.Fatalf("watching a directory gave %v", got)
		}
	})
}

func TestIdleWaitIsRefused(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		var out [4]Completion
		if n, err := e.Wait(out[:], true); n != 0 || !errors.Is(err, ErrIdle) {
			t.Fatalf("idle blocking Wait gave %d completions, error %v", n, err)
		}
		if n, err := e.Wait(out[:], false); n != 0 || err != nil {
			t.Fatalf("idle Wait gave %d completions, error %v", n, err)
		}
	})
}

// Eventfds are seen even while there are always completions to take.
func TestWatchIsNotStarved(t *testing.T) {
	eachKind(t, 8, func(t *testing.T, e Engine) {
		fd, kick := tempFile(t), eventfd(t, unix.EFD_NONBLOCK)
		signal(t, kick)
		e.Watch(kick, 1)
		v := iovec(make([]byte, 1))
		for round := range 1000 {
			e.Writev(fd, v, 0, 2)
			if got := collect(t, e, 1); got[1] == 8 {
				return
			}
			if round > 2*watchEvery {
				t.Fatal("the eventfd is not looked at while there is other work")
			}
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	const batch = 40
	eachKind(t, 64, func(t *testing.T, e Engine) {
		fd, kick := tempFile(t), eventfd(t, unix.EFD_NONBLOCK)
		v := iovec(make([]byte, 512), make([]byte, 512))
		out := make([]Completion, 16)
		got := testing.AllocsPerRun(100, func() {
			signal(t, kick)
			e.Watch(kick, 1)
			for i := range batch {
				switch i % 8 {
				case 7:
					e.Fdatasync(fd, bio.LaneTag|uint64(i))
				case 0, 2, 4:
					e.Writev(fd, v, int64(i)*1024, bio.LaneTag|uint64(i))
				default:
					e.Readv(fd, v, 0, bio.LaneTag|uint64(i))
				}
			}
			for left := batch + 1; left > 0; {
				n, err := e.Wait(out, true)
				if err != nil {
					t.Fatal(err)
				}
				left -= n
			}
		})
		if got != 0 {
			t.Fatalf("%v allocations per batch", got)
		}
	})
}

func TestPick(t *testing.T) {
	tmpfs, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tmpfs)
	if kind, why := Pick(tmpfs); kind != Inline || !strings.Contains(why, "tmpfs") {
		t.Errorf("picked %s for tmpfs: %s", kind, why)
	}
	want := Uring
	if probeRing() != nil {
		want = Threads
	}
	if kind, why := Pick(-1); kind != want || !strings.Contains(why, "io_uring") {
		t.Errorf("picked %s where the file system is unknown: %s", kind, why)
	}
	if _, err := New("fast", 8); err == nil || !strings.Contains(err.Error(), `"fast"`) {
		t.Errorf("unknown kind gave %v", err)
	}
}
