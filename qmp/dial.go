package qmp

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// maxPath is the longest name of a Unix socket, in bytes (unix(7): sun_path and its end).
const maxPath = 107

// dial connects to a Unix socket.
func dial(ctx context.Context, path string) (net.Conn, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w: a path of %d bytes; sockets have at most %d: %.40s…",
			ErrSockets, len(path), maxPath, path)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path) // the error has the path
}

// peerPID is the process that listens at the other end of a Unix socket, 0 if that is unknown.
func peerPID(conn net.Conn) int {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	var pid int
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
