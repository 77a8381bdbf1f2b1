package mirror

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The kernel carries content from a store's data file to a plain TCP socket in a pipe: pages that it read
// or had, and that nobody here looks at. Their checksums were made when the guest wrote.
//
// A file that is open for direct I/O is read past the page cache into pages of the pipe's own, so that
// what goes out is what the device holds, whatever the cache has of an older use of the place. Otherwise
// the pages are those of the cache, through which the store writes, too.

// worthAPipe is how long the stretches of a file must be on average, in bytes, for the kernel to carry
// them with less work than it takes to read them here (BenchmarkEpoch).
const worthAPipe = 16 << 10

// pipe holds the content of one frame.
type pipe struct{ r, w int }

// pipeSize is room for the content of any frame, in pages of 4 KiB.
const pipeSize = maxBulk

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	p := &pipe{fds[0], fds[1]}
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipe) close() {
	if p != nil {
		_, _ = unix.Close(p.r), unix.Close(p.w) // nobody wants what is in it
	}
}

// carried says whether the kernel is to carry a parcel: its checksums are known, its content lies in
// files, and nobody encrypts it.
func (s *Session) carried(p *parcel) bool {
	if s.conn.socket == nil || p.bulk == 0 || s.conn.noPipes.Load() {
		return false
	}
	for i := range p.parts {
		if _, file := p.parts[i].From.(*os.File); !file || !p.parts[i].Summed {
			return false
		}
	}
	return p.bulk >= int64(len(p.stretches()))*worthAPipe
}

// fillPipe puts the content of a parcel into a pipe. It returns nil if the kernel does not do that here:
// then it is to be read.
func (c *conn) fillPipe(p *parcel) (*pipe, error) {
	q, err := c.takePipe()
	for _, x := range p.stretches() {
		if err == nil {
			f, ok := x.from.(*os.File)
			invariant(ok, "carried has looked")
			err = q.fill(f, x.at, x.n)
		}
	}
	if err == nil {
		return q, nil
	}
	q.close()
	if errors.Is(err, ErrSource) {
		return nil, err
	}
	c.noPipes.Store(true) // no room for pipes, or none of that size, or a file system that cannot
	return nil, nil
}

// fill puts n bytes of a file from byte at into the pipe, which has room for them.
func (p *pipe) fill(f *os.File, at, n int64) error {
	for n > 0 {
		m, err := unix.Splice(int(f.Fd()), &at, p.w, nil, int(n), unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err == unix.EIO:
			return fmt.Errorf("%w: reading byte %d: %w", ErrSource, at, err)
		case err != nil:
			return err
		case m == 0:
			return fmt.Errorf("%w: reading byte %d: %w", ErrSource, at, io.ErrUnexpectedEOF)
		default:
			n -= int64(m)
		}
	}
	return nil
}

// takePipe returns an empty pipe.
func (c *conn) takePipe() (*pipe, error) {
	c.pipesMu.Lock()
	defer c.pipesMu.Unlock()
	if k := len(c.pipes) - 1; k >= 0 {
		p := c.pipes[k]
		c.pipes = c.pipes[:k]
		return p, nil
	}
	return newPipe()
}

// keepPipe takes back a pipe that is empty.
func (c *conn) keepPipe(p *pipe) {
	c.pipesMu.Lock()
	defer c.pipesMu.Unlock()
	if c.pipesOver {
		p.close()
		return
	}
	c.pipes = append(c.pipes, p)
}

func (c *conn) closePipes() {
	c.pipesMu.Lock()
	defer c.pipesMu.Unlock()
	for _, p := range c.pipes {
		p.close()
	}
	c.pipes, c.pipesOver = nil, true
}

// sendPipe sends the frame that was begun, its n bytes of content from a pipe.
func (c *conn) sendPipe(p *pipe, n int64) error {
	if err := c.deadline(); err != nil {
		return err
	}
	head := c.head
	err := c.push(func(fd int) (bool, error) { // more follows: the kernel is not to send it alone
		m, err := unix.SendmsgBuffers(fd, [][]byte{head}, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		head = head[max(m, 0):]
		return len(head) == 0, err
	})
	if err != nil {
		return err
	}
	return c.push(func(fd int) (bool, error) {
		m, err := unix.Splice(p.r, nil, fd, nil, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err == nil && m == 0 {
			err = io.ErrUnexpectedEOF
		}
		n -= max(m, 0)
		return n == 0, err
	})
}

// push calls step with the socket until it is done, waiting where the socket takes nothing.
func (c *conn) push(step func(fd int) (done bool, err error)) error {
	var err error
	waitErr := c.socket.Write(func(fd uintptr) bool {
		for {
			var done bool
			switch done, err = step(int(fd)); {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				err = nil
				return false
			case done || err != nil:
				return true
			}
		}
	})
	return writeError(errors.Join(waitErr, err))
}
