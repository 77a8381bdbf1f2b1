package checkpoint

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// Synchronous access, for verbs that work on a volume without a guest: it goes through a lane
// like a guest's requests, whose engine does each operation at once.

// access is a lane for callers that wait.
type access struct {
	mu   sync.Mutex
	lane bio.Lane
	eng  *directEngine
	done []*bio.Request
}

// directEngine does every operation when it is queued.
type directEngine struct {
	files map[int]File
	over  []completion
}

type completion struct {
	tag uint64
	res int32
}

func (e *directEngine) Readv(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.move(iov, off, tag, e.files[fd].ReadAt)
}

func (e *directEngine) Writev(fd int, iov []unix.Iovec, off int64, tag uint64) {
	e.move(iov, off, tag, e.files[fd].WriteAt)
}

func (e *directEngine) Fdatasync(fd int, tag uint64) {
	res := int32(0)
	if err := e.files[fd].Sync(); err != nil {
		res = -int32(errno(err))
	}
	e.over = append(e.over, completion{tag, res})
}

func (e *directEngine) move(iov []unix.Iovec, off int64, tag uint64, do func([]byte, int64) (int, error)) {
	var total int32
	for _, v := range iov {
		n, err := do(unsafe.Slice(v.Base, v.Len), off)
		total += int32(n)
		off += int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			e.over = append(e.over, completion{tag, -int32(errno(err))})
			return
		}
		if uint64(n) < v.Len {
			break
		}
	}
	e.over = append(e.over, completion{tag, total})
}

// errno returns the system's number for an error, EIO if it has none.
func errno(err error) syscall.Errno {
	var n syscall.Errno
	switch {
	case errors.Is(err, ErrNoSpace):
		return unix.ENOSPC
	case errors.As(err, &n):
		return n
	}
	return unix.EIO
}

// do runs one request to its end.
func (a *access) do(s *Store, r bio.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lane == nil {
		a.eng = &directEngine{files: map[int]File{s.data.Fd(): s.data}}
		if s.base != nil {
			a.eng.files[s.base.file.Fd()] = s.base.file
		}
		lane, err := s.NewLane(1, a.eng)
		if err != nil {
			return err
		}
		a.lane = lane
	}
	a.lane.Submit(&r)
	a.lane.Dispatch()
	for a.done = a.lane.Settle(a.done[:0]); len(a.done) == 0; a.done = a.lane.Settle(a.done[:0]) {
		if over := a.eng.over; len(over) > 0 {
			a.eng.over = nil
			for _, c := range over {
				a.lane.Complete(c.tag, c.res)
			}
			continue
		}
		a.wait(s)
	}
	return r.Err
}

// wait lets background work find what the request lacks, and picks up its mail.
func (a *access) wait(s *Store) {
	if s.background.manual {
		_ = s.flushOnce() || s.tendOnce()
		a.lane.Wake()
		return
	}
	p := []unix.PollFd{{Fd: int32(a.lane.WakeFD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, -1); err == nil {
		var word [8]byte
		_, _ = unix.Read(a.lane.WakeFD(), word[:])
	}
	a.lane.Wake()
}

func (a *access) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lane == nil {
		return nil
	}
	err := a.lane.Close()
	a.lane = nil
	return err
}

// ReadAt reads the current state; offset and length are multiples of 512 bytes.
func (s *Store) ReadAt(p []byte, off int64) (int, error) { return s.moveAt(bio.Read, p, off) }

// WriteAt changes the current state; offset and length are multiples of 512 bytes. Sync makes it
// durable.
func (s *Store) WriteAt(p []byte, off int64) (int, error) { return s.moveAt(bio.Write, p, off) }

func (s *Store) moveAt(op bio.Op, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r := bio.Request{Op: op, Off: off, Len: int64(len(p)), Iov: []unix.Iovec{vectorOf(p)}}
	if err := s.access.do(s, r); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Zero makes a range read as zeroes and gives its space back.
func (s *Store) Zero(off, n int64) error {
	return s.access.do(s, bio.Request{Op: bio.WriteZeroes, Off: off, Len: n})
}

// Discard gives the space of the blocks that lie in a range back.
func (s *Store) Discard(off, n int64) error {
	return s.access.do(s, bio.Request{Op: bio.Discard, Off: off, Len: n})
}
