package blk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// fileStore is a plain file as a disk: a whole Store, without redirection.
type fileStore struct {
	fd       int
	size     atomic.Int64
	readOnly bool
	flushErr error

	mu     sync.Mutex
	ops    []bio.Op // in the order in which they were done, if journal is set
	record bool

	// If gate is not nil, flushes, discards and zeroings wait until it is closed, and each tells
	// arrived before.
	gate, arrived chan struct{}
}

// newFileStore makes a disk in a memfd (tmpfs) or in a file of the test's directory.
func newFileStore(t testing.TB, size int64, inMemory bool) *fileStore {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if !inMemory {
		fd, err = unix.Open(filepath.Join(t.TempDir(), "disk"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	s := &fileStore{fd: fd}
	s.resize(t, size)
	return s
}

// block makes what is slow wait for the gate.
func (s *fileStore) block() {
	s.gate, s.arrived = make(chan struct{}), make(chan struct{}, 1)
}

func (s *fileStore) resize(t testing.TB, size int64) {
	t.Helper()
	if err := unix.Ftruncate(s.fd, size); err != nil {
		t.Fatal(err)
	}
	s.size.Store(size)
}

func (s *fileStore) Size() int64    { return s.size.Load() }
func (s *fileStore) ReadOnly() bool { return s.readOnly }

func (s *fileStore) NewLane(depth int, eng bio.Engine) (bio.Lane, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &fileLane{
		store: s, eng: eng, wake: wake,
		moves: make([]move, depth),
		slow:  make(chan *bio.Request, depth),
	}
	l.background.Go(l.runSlow)
	return l, nil
}

func (s *fileStore) did(op bio.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record {
		s.ops = append(s.ops, op)
	}
}

func (s *fileStore) takeOps() []bio.Op {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

// fileLane moves data through the worker's engine, and leaves what blocks to a goroutine that
// wakes the worker when it is done.
type fileLane struct {
	store  *fileStore
	eng    bio.Engine
	wake   int
	moves  []move // by tag
	batch  []*bio.Request
	done   []*bio.Request
	flying int

	slow       chan *bio.Request
	background sync.WaitGroup
	mu         sync.Mutex
	finished   []*bio.Request
}

// move is a read or a write on its way.
type move struct {
	r    *bio.Request
	iov  []unix.Iovec
	off  int64
	left int64
}

func (l *fileLane) Submit(r *bio.Request) {
	l.flying++
	l.batch = append(l.batch, r)
}

func (l *fileLane) Dispatch() {
	for _, r := range l.batch {
		if r.Op == bio.Read || r.Op == bio.Write {
			l.moves[r.Tag] = move{r, r.Iov, r.Off, r.Len}
			l.start(r.Tag)
		} else {
			l.slow <- r
		}
	}
	l.batch = l.batch[:0]
}

func (l *fileLane) start(tag uint32) {
	m := &l.moves[tag]
	if m.r.Op == bio.Read {
		l.eng.Readv(l.store.fd, m.iov, m.off, bio.LaneTag|uint64(tag))
	} else {
		l.eng.Writev(l.store.fd, m.iov, m.off, bio.LaneTag|uint64(tag))
	}
}

func (l *fileLane) Complete(tag uint64, res int32) {
	m := &l.moves[tag&^bio.LaneTag]
	m.r.Err = nil
	switch {
	case res == -int32(unix.EFAULT):
		m.r.Err = bio.ErrFault
	case res < 0:
		m.r.Err = unix.Errno(-res)
	case res == 0:
		m.r.Err = errors.New("the file is shorter than the disk")
	case int64(res) < m.left:
		m.advance(int64(res))
		l.start(uint32(tag))
		return
	}
	l.store.did(m.r.Op)
	l.done = append(l.done, m.r)
}

// advance drops n bytes that were moved.
func (m *move) advance(n int64) {
	m.off, m.left = m.off+n, m.left-n
	m.iov = slices.Clone(m.iov)
	for uint64(n) >= m.iov[0].Len {
		n -= int64(m.iov[0].Len)
		m.iov = m.iov[1:]
	}
	m.iov[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(m.iov[0].Base), n))
	m.iov[0].SetLen(int(m.iov[0].Len) - int(n))
}

// runSlow does what blocks.
func (l *fileLane) runSlow() {
	for r := range l.slow {
		if l.store.gate != nil {
			l.store.arrived <- struct{}{}
			<-l.store.gate
		}
		const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		if r.Op == bio.Flush {
			r.Err = errors.Join(unix.Fdatasync(l.store.fd), l.store.flushErr)
		} else {
			r.Err = unix.Fallocate(l.store.fd, punch, r.Off, r.Len)
		}
		l.store.did(r.Op)
		l.mu.Lock()
		l.finished = append(l.finished, r)
		l.mu.Unlock()
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func (l *fileLane) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, l.finished...)
	l.finished = l.finished[:0]
}

func (l *fileLane) Settle(done []*bio.Request) []*bio.Request {
	done = append(done, l.done...)
	l.flying -= len(l.done)
	l.done = l.done[:0]
	return done
}

func (l *fileLane) InFlight() int { return l.flying }
func (l *fileLane) WakeFD() int   { return l.wake }

func (l *fileLane) Close() error {
	if l.flying != 0 {
		return errors.New("requests are in flight")
	}
	close(l.slow)
	l.background.Wait()
	return unix.Close(l.wake)
}
