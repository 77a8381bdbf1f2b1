package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSunPath is how long a path fits into a socket address, in bytes, with its final zero.
	maxSunPath = 107

	placeTries = 100 // attempts to become the one who changes sockets in a directory
	placePause = 20 * time.Millisecond
)

// Listener is a listening UNIX socket that takes its file with it when it is closed.
type Listener struct {
	*net.UnixListener
	path string
	file unix.Stat_t // of the socket file that it made

	once   sync.Once // closes
	closed error
}

// Listen makes a UNIX socket at path with the given permissions. The file of a socket that
// nobody listens on any more gives way; one that is alive never does, nor does a file of any
// other kind.
func Listen(path string, perm os.FileMode) (*Listener, error) {
	release, err := claimPlace(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer release()
	if err := clearStale(path); err != nil {
		return nil, err
	}
	l := &Listener{path: path}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The file gets the descriptor's permissions when it is bound, so that it is never
		// open to others for a moment.
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), uint32(perm.Perm())) })
		return errors.Join(err, failed)
	}}
	err = shortPath(path, func(short string) error {
		any, err := lc.Listen(context.Background(), "unix", short)
		if err != nil {
			return err
		}
		l.UnixListener = any.(*net.UnixListener)
		l.SetUnlinkOnClose(false)
		return unix.Lstat(short, &l.file)
	})
	if errors.Is(err, syscall.EINVAL) {
		err = errors.New("its name is too long") // of the path only the name counts: see shortPath
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, cause(err))
	}
	return l, nil
}

// Path is where the socket is, as it was asked for.
func (l *Listener) Path() string { return l.path }

// Close stops listening and removes the socket's file, unless another has taken its place.
// Closing again changes nothing.
func (l *Listener) Close() error {
	l.once.Do(func() { l.closed = l.close() })
	return l.closed
}

func (l *Listener) close() error {
	err := l.UnixListener.Close()
	var now unix.Stat_t
	if unix.Lstat(l.path, &now) == nil && now.Ino == l.file.Ino && now.Dev == l.file.Dev {
		err = errors.Join(err, ignoreGone(os.Remove(l.path)))
	}
	return err
}

// clearStale removes the file of a dead socket at path.
func clearStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: a file that is no socket is there", path)
	}
	alive, err := Alive(path)
	switch {
	case err != nil:
		return fmt.Errorf("socket %s: %w", path, err)
	case alive:
		return &Error{Code: CodeInUse, Message: fmt.Sprintf("socket %s: another process listens on it", path)}
	}
	return ignoreGone(os.Remove(path))
}

// Alive reports whether a process holds the socket at path. It asks with a socket of another
// type: the kernel then tells a live socket (EPROTOTYPE) from a dead file (ECONNREFUSED)
// without connecting, which a vhost-user backend would take for a new front end.
func Alive(path string) (bool, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = shortPath(path, func(short string) error {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: short})
	})
	switch {
	case err == nil, errors.Is(err, unix.EPROTOTYPE):
		return true, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return false, nil
	}
	return false, err
}

// claimPlace makes its caller the only one in a directory who looks for stale sockets and
// puts his own there; two could otherwise both find the same dead file, and the slower one
// would remove the faster one's living socket.
func claimPlace(dir string) (release func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		return func() {}, nil // a directory we may write to and not read cannot be locked
	}
	if err != nil {
		return nil, err
	}
	for range placeTries {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(placePause)
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was written
		return nil, fmt.Errorf("directory is locked: %w", err)
	}
	return func() { _ = unix.Close(fd) }, nil
}

// shortPath calls f with a name of path that fits into a socket address: the path itself, or
// one through a descriptor of its directory where it is too long.
func shortPath(path string, f func(short string) error) error {
	if len(path) <= maxSunPath {
		return f(path)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)))
}

func dialUnix(ctx context.Context, path string) (conn net.Conn, err error) {
	var d net.Dialer
	err = shortPath(path, func(short string) error {
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return conn, cause(err)
}

// cause strips the short path, which says nothing to a person, from a network error.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
