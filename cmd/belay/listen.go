package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/belay-vm/belay/internal/control"
	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// socketPerm lets the owner and the group connect, as far as the umask allows.
const socketPerm = 0o660

// endpoint is where front ends come from: a listener, or the one that is connected already.
// Exactly one is set.
type endpoint struct {
	listener net.Listener
	conn     *net.UnixConn
	name     string // for people: the socket's path as it was given, or fd:N
	path     string // of the socket; empty where it has none that is known
}

// Close ends what serving has not ended already.
func (e endpoint) Close() error {
	var err error
	if e.conn != nil {
		err = e.conn.Close()
	} else {
		err = e.listener.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// endpointMaker says where the endpoint comes from, and finds fault with the flags before anything
// else is done.
type endpointMaker interface{ open() (endpoint, error) }

type (
	// onPath listens on a path.
	onPath string
	// onFD takes a descriptor that was handed over.
	onFD struct {
		fd   int
		kept *os.File // owns the descriptor where that is not the process as a whole
	}
)

// chooseEndpoint decides by the flags and the environment. Systemd's socket activation and the
// flags that say where to listen exclude each other.
func chooseEndpoint(socketPath string, fd int) (endpointMaker, error) {
	passed := activation.Files(true)
	switch {
	case len(passed) > 0 && (socketPath != "" || fd >= 0):
		return nil, usagef("--socket-path and --fd exclude socket activation (LISTEN_FDS is set)")
	case len(passed) > 1:
		return nil, usagef("socket activation passed %d sockets; one is served", len(passed))
	case len(passed) == 1:
		return onFD{int(passed[0].Fd()), passed[0]}, nil
	case socketPath != "" && fd >= 0:
		return nil, usagef("--socket-path and --fd exclude each other")
	case socketPath != "":
		return onPath(socketPath), nil
	case fd >= 0:
		return onFD{fd: fd}, nil
	}
	return nil, usagef("one of --socket-path and --fd is needed")
}

func (p onPath) open() (endpoint, error) {
	l, err := control.Listen(string(p), socketPerm)
	return endpoint{listener: l, name: string(p), path: absolute(string(p))}, err
}

// open takes the descriptor for what it is: a listening socket or a connected one.
func (h onFD) open() (endpoint, error) {
	name := fmt.Sprintf("fd:%d", h.fd)
	domain, err := unix.GetsockoptInt(h.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case errors.Is(err, unix.EBADF):
		return endpoint{}, fmt.Errorf("file descriptor %d is not open", h.fd)
	case err != nil || domain != unix.AF_UNIX:
		return endpoint{}, fmt.Errorf("file descriptor %d is no UNIX socket", h.fd)
	}
	listening, err := unix.GetsockoptInt(h.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return endpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	file := h.kept
	if file == nil {
		file = os.NewFile(uintptr(h.fd), name)
	}
	defer file.Close() // the net package works on a duplicate
	if listening == 0 {
		conn, err := net.FileConn(file)
		if err != nil {
			return endpoint{}, fmt.Errorf("%s: %w", name, err)
		}
		u, ok := conn.(*net.UnixConn)
		if !ok {
			return endpoint{}, errors.Join(fmt.Errorf("%s: not a stream socket", name), conn.Close())
		}
		return endpoint{conn: u, name: name}, nil
	}
	l, err := net.FileListener(file)
	if err != nil {
		return endpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	if path := l.Addr().String(); path != "" {
		return endpoint{listener: l, name: path, path: path}, nil
	}
	return endpoint{listener: l, name: name}, nil
}
