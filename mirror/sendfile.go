package mirror

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// worthAFile is how long the stretches of a file must be on average, in bytes, for the kernel to send
// them faster than they are copied (BenchmarkEpoch).
const worthAFile = 16 << 10

// byFile says whether the kernel is to send a parcel from its files: their content need not be read
// here, because its checksums are known, and nobody encrypts it.
func (s *Session) byFile(p *parcel) bool {
	if s.conn.socket == nil || p.bulk == 0 {
		return false
	}
	stretches := int64(0)
	for i := range p.parts {
		c := &p.parts[i]
		if _, file := c.From.(*os.File); !file || !c.Summed {
			return false
		}
		if i == 0 || !c.follows(&p.parts[i-1], p.parts[i-1].Len) {
			stretches++
		}
	}
	return p.bulk >= stretches*worthAFile
}

// sendFiles sends the frame that was begun, its content from files. Neighbours in a file go
// together.
func (c *conn) sendFiles(parts []Change) error {
	if err := c.deadline(); err != nil {
		return err
	}
	if err := c.sendMore(c.head); err != nil {
		return writeError(err)
	}
	for len(parts) > 0 {
		first, n, k := parts[0], parts[0].Len, 1
		for k < len(parts) && parts[k].follows(&first, n) {
			n += parts[k].Len
			k++
		}
		f, ok := first.From.(*os.File)
		invariant(ok, "byFile has looked")
		if err := c.sendFile(f, first.At, n); err != nil {
			return writeError(err)
		}
		parts = parts[k:]
	}
	return nil
}

// sendMore writes p and tells the kernel that more follows, so that it does not send p alone.
func (c *conn) sendMore(p []byte) error {
	var err error
	waitErr := c.socket.Write(func(fd uintptr) bool {
		for len(p) > 0 && err == nil {
			var n int
			n, err = unix.SendmsgBuffers(int(fd), [][]byte{p}, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			p = p[max(n, 0):]
			switch err {
			case unix.EINTR:
				err = nil
			case unix.EAGAIN:
				err = nil
				return false
			}
		}
		return true
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}

// sendFile sends n bytes of a file from byte at.
func (c *conn) sendFile(f *os.File, at, n int64) error {
	var err error
	waitErr := c.socket.Write(func(fd uintptr) bool {
		for n > 0 && err == nil {
			var m int
			if m, err = unix.Sendfile(int(fd), int(f.Fd()), &at, int(n)); m > 0 {
				n -= int64(m)
			}
			switch {
			case err == unix.EINTR:
				err = nil
			case err == unix.EAGAIN:
				err = nil
				return false
			case err == nil && m == 0:
				err = fmt.Errorf("%w: %w at byte %d", ErrSource, io.ErrUnexpectedEOF, at)
			}
		}
		return true
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}
