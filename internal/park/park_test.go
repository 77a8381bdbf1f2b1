package park

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A garbage collection must not wait for a thread that waits for something that never comes.
func TestWaitLetsGarbageCollectionThrough(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	began, ended := make(chan struct{}), make(chan unix.Errno)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		close(began)
		for {
			n, errno := Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 1, 0, 0, 0, 0)
			if errno != unix.EINTR {
				if n != 1 {
					errno = unix.EINVAL
				}
				ended <- errno
				return
			}
		}
	}()
	<-began
	for range 20 {
		runtime.GC() // returns only when the thread was stopped or announced its wait
	}
	select {
	case errno := <-ended:
		t.Fatalf("the wait ended by itself: %v", errno)
	default:
	}
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if errno := <-ended; errno != 0 {
		t.Fatal(errno)
	}
}
