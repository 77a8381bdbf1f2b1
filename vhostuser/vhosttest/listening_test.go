package vhosttest_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// A socket that is bound and does not listen yet is none to connect to.
func TestListening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	wantListening(t, path, false)
	if _, err := net.Dial("unix", path); err == nil {
		t.Fatal("connected")
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	wantListening(t, path, true)
}

func wantListening(t *testing.T, path string, want bool) {
	t.Helper()
	if got, err := vhosttest.Listening(os.Getpid(), path); got != want || err != nil {
		t.Errorf("listening: %v, %v", got, err)
	}
}
