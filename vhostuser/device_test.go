package vhostuser_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

const (
	featureMQ   = uint64(1) << 12
	statusIOErr = 1
	sector      = 512
	headerBytes = 16
)

// ramDisk is the device that sessions are tested with: enough of virtio-blk to tell right
// from wrong data, and a gate that keeps requests in flight for as long as a test wants.
type ramDisk struct {
	data   []byte
	queues int

	// held says which requests wait at the gate after they were executed; nil for none.
	held func(write bool, sector uint64) bool
	gate gate

	executed atomic.Uint64
	runs     atomic.Int64 // Runs under way
	acked    atomic.Uint64
	ledger   func(sector uint64, write bool)

	mu     sync.Mutex
	config [64]byte
}

func newRAMDisk(t *testing.T, size, queues int) *ramDisk {
	d := &ramDisk{data: make([]byte, size), queues: queues, gate: newGate(t)}
	d.resize(uint64(size / sector))
	return d
}

func (d *ramDisk) resize(sectors uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	binary.LittleEndian.PutUint64(d.config[:], sectors)
}

func (d *ramDisk) Features() uint64         { return featureMQ }
func (d *ramDisk) SetFeatures(acked uint64) { d.acked.Store(acked) }
func (d *ramDisk) NumQueues() int           { return d.queues }

func (d *ramDisk) ReadConfig(p []byte, off uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(p)
	if int(off) < len(d.config) {
		copy(p, d.config[off:])
	}
	return nil
}

func (d *ramDisk) WriteConfig(off uint32, p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off != 32 || len(p) != 1 {
		return errors.New("only the write cache switch can be written")
	}
	d.config[32] = p[0]
	return nil
}

func (d *ramDisk) Run(q *vhostuser.Queue) error {
	d.runs.Add(1)
	defer d.runs.Add(-1)
	w := &worker{disk: d, q: q, chains: make([]vhostuser.Chain, q.Size())}
	for i := range w.chains {
		w.free = append(w.free, &w.chains[i])
	}
	return w.run()
}

// worker is one Run.
type worker struct {
	disk    *ramDisk
	q       *vhostuser.Queue
	chains  []vhostuser.Chain
	free    []*vhostuser.Chain
	waiting []heldChain
}

type heldChain struct {
	c       *vhostuser.Chain
	written uint32
}

func (w *worker) run() error {
	for {
		if err := w.take(); err != nil {
			return err
		}
		w.letGo()
		if err := w.q.Publish(); err != nil {
			return err
		}
		if w.q.Stopping() {
			return w.finish()
		}
		more, err := w.q.Arm()
		if err != nil {
			return err
		}
		if !more || len(w.free) == 0 {
			w.sleep(w.q.KickFD())
		}
		w.q.Disarm()
	}
}

// take executes everything that is in the ring, but no more than one request once the ring is
// to stop.
func (w *worker) take() error {
	for first := true; len(w.free) > 0 && (first || !w.q.Stopping()); first = false {
		c := w.free[len(w.free)-1]
		ok, err := w.q.Next(c)
		var bad *vhostuser.ChainError
		switch {
		case errors.As(err, &bad):
			w.q.Complete(c, 0)
			continue
		case err != nil:
			return err
		case !ok:
			return nil
		}
		w.free = w.free[:len(w.free)-1]
		w.execute(c)
	}
	return nil
}

func (w *worker) execute(c *vhostuser.Chain) {
	var h [headerBytes]byte
	if n, err := c.CopyIn(h[:], 0); err != nil || n != len(h) || c.WriteLen == 0 {
		w.complete(c, 0)
		return
	}
	write, at := binary.LittleEndian.Uint32(h[:]) == uint32(vhosttest.OpWrite), binary.LittleEndian.Uint64(h[8:])
	written, status := w.disk.transfer(c, write, at)
	w.disk.executed.Add(1)
	if w.disk.ledger != nil {
		w.disk.ledger(at, write)
	}
	if _, err := c.CopyOut([]byte{status}, c.WriteLen-1); err != nil {
		written = 0
	}
	if w.disk.held != nil && w.disk.held(write, at) && !w.disk.gate.open() {
		w.waiting = append(w.waiting, heldChain{c, written})
		return
	}
	w.complete(c, written)
}

// transfer moves the data and says how many bytes were written and how it went.
func (d *ramDisk) transfer(c *vhostuser.Chain, write bool, at uint64) (uint32, byte) {
	n, off := c.WriteLen-1, at*sector
	if write {
		n = c.ReadLen - headerBytes
	}
	if off > uint64(len(d.data)) || n > uint64(len(d.data))-off {
		return 1, statusIOErr
	}
	var err error
	if write {
		_, err = c.CopyIn(d.data[off:off+n], headerBytes)
	} else {
		_, err = c.CopyOut(d.data[off:off+n], 0)
	}
	switch {
	case err != nil:
		return 1, statusIOErr
	case write:
		return 1, 0
	}
	return uint32(n) + 1, 0
}

func (w *worker) complete(c *vhostuser.Chain, written uint32) {
	w.q.Complete(c, written)
	w.free = append(w.free, c)
}

// letGo completes what waits at the gate, last taken first, once the gate is open.
func (w *worker) letGo() {
	if !w.disk.gate.open() {
		return
	}
	for i := len(w.waiting) - 1; i >= 0; i-- {
		w.complete(w.waiting[i].c, w.waiting[i].written)
	}
	w.waiting = w.waiting[:0]
}

// finish waits for the gate, as a device waits for its medium.
func (w *worker) finish() error {
	for len(w.waiting) > 0 {
		poll(time.Second, w.disk.gate.fd)
		w.letGo()
	}
	return w.q.Publish()
}

func (w *worker) sleep(kick int) {
	timeout := time.Second
	if kick < 0 {
		timeout = time.Millisecond
	}
	fds := []int{kick, w.q.StopFD()}
	if len(w.waiting) > 0 {
		fds = append(fds, w.disk.gate.fd)
	}
	if poll(timeout, fds...)[0] {
		var b [8]byte
		_, _ = unix.Read(kick, b[:])
	}
}

func poll(timeout time.Duration, fds ...int) []bool {
	ps := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		ps[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	_, _ = unix.Poll(ps, int(timeout/time.Millisecond))
	ready := make([]bool, len(fds))
	for i := range ps {
		ready[i] = ps[i].Revents&unix.POLLIN != 0
	}
	return ready
}

// gate is an eventfd that is never read: readable means open.
type gate struct{ fd int }

func newGate(t *testing.T) gate {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		panic(err)
	}
	if t != nil {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	return gate{fd}
}

func (g gate) open() bool { return poll(0, g.fd)[0] }

func (g gate) release() { _, _ = unix.Write(g.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// backend is a server under test.
type backend struct {
	*vhostuser.Server
	path string
	stop func() error // ends Serve and returns what it returned
}

// serve starts a server on a socket; the test's end stops it.
func serve(t *testing.T, dev vhostuser.Device, o vhostuser.Options) *backend {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Debug})
	b := &backend{Server: vhostuser.NewServer(dev, log, o), path: path}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, l) }()
	b.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// connect makes a front end that hangs up before the server is stopped.
func connect(t *testing.T, b *backend, o vhosttest.Options) *vhosttest.FrontEnd {
	t.Helper()
	f, err := vhosttest.Connect(b.path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// started is connect and Start.
func started(t *testing.T, b *backend, o vhosttest.Options) *vhosttest.FrontEnd {
	t.Helper()
	f := connect(t, b, o)
	must(t, f.Start())
	return f
}

func newDisk(t *testing.T, f *vhosttest.FrontEnd, queue, depth, maxLen int) *vhosttest.Disk {
	t.Helper()
	k, err := vhosttest.NewDisk(f.Queue(queue), depth, maxLen)
	must(t, err)
	return k
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for range 5000 {
		if ok() {
			return
		}
		<-again.C
	}
	t.Fatalf("did not happen: %s", what)
}
