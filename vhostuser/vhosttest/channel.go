package vhosttest

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ConfigChange is the request by which a back end announces a new config space.
const ConfigChange = 2

// openChannel makes the backend channel and hands one end over.
func (f *FrontEnd) openChannel() error {
	if f.channel != nil {
		_ = f.channel.Close() // the old device's: the new one replaces it
		f.channel = nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fds[1]) }()
	if f.channel, err = connOf(fds[0]); err != nil {
		return err
	}
	return f.Call(SetBackendReqFD, nil, fds[1])
}

func connOf(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "vhosttest-channel")
	defer func() { _ = file.Close() }()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// CloseChannel closes the backend channel, as device_del does.
func (f *FrontEnd) CloseChannel() error {
	c := f.channel
	f.channel = nil
	return c.Close()
}

// FromBackend waits for the next message on the backend channel; nil without an error means
// that none came in time.
func (f *FrontEnd) FromBackend(timeout time.Duration) (*Message, error) {
	m, err := recv(f.channel, timeout)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return nil, nil
	}
	return m, err
}
