package pair

import (
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/vhostuser"
)

// device is a block device that can be stilled.
type device interface {
	vhostuser.Device
	Pause()
	Resume()
}

// front is what stands between a disk and its front end, for the machine.
type front interface {
	drain(queue int)
	answer(queue int)
	release(queue int)
	still() (colo.Digests, error)
	hangUp()
}

// Disk is a disk of the virtual machine as its front end sees it: a device whose rings wait for the
// machine's word before they run, and whose stops wait for its answer.
type Disk struct {
	device
	index int
	post  func(colo.Event)
	over  <-chan struct{} // closed when nobody answers any more

	halting func() // the fence is to know that somebody waits for rings

	mu    sync.Mutex
	rings map[int]*diskRing // that are started, by number
	front net.Conn          // of the front end; may be closed
}

var _ vhostuser.Stopper = (*Disk)(nil)

// diskRing is a ring between its start and the answer to its stop.
type diskRing struct {
	q       *vhostuser.Queue // nil: it never ran
	wake    int              // eventfd: look again
	busy    sync.Mutex       // guards what follows, and q as long as Run runs
	runs    bool
	last    uint64 // digest, when Run ended
	lastErr error

	digest   colo.Digest // at its stop; this and what follows under the disk's mutex
	released bool
	stopped  chan struct{} // made by a stop, closed by its answer
}

func newDisk(index int, d device, post func(colo.Event), over <-chan struct{}) *Disk {
	return &Disk{device: d, index: index, post: post, over: over, rings: map[int]*diskRing{}}
}

func (d *Disk) ring(queue int) colo.Ring { return colo.Ring{Disk: d.index, Queue: queue} }

// Run serves a ring when the machine releases it. The session runs a ring again for many reasons; only
// what was not running since its start or the answer to its stop is a ring start to the machine.
func (d *Disk) Run(q *vhostuser.Queue) error {
	r, err := d.enter(q)
	if err != nil {
		return err
	}
	r.running(true)
	defer r.running(false)
	if ok, err := d.await(r, q); !ok || err != nil {
		return err
	}
	return d.device.Run(q)
}

// running notes whether Run runs: only then may others look at q, which the session takes away after.
func (r *diskRing) running(on bool) {
	r.busy.Lock()
	defer r.busy.Unlock()
	r.runs = on
	if !on {
		r.last, r.lastErr = r.q.Digest()
	}
}

// enter finds a ring or announces that it starts.
func (d *Disk) enter(q *vhostuser.Queue) (*diskRing, error) {
	d.mu.Lock()
	r := d.rings[q.Index()]
	d.mu.Unlock()
	if r != nil && r.q == q {
		return r, nil
	}
	digest, err := q.Digest()
	if err != nil {
		return nil, err
	}
	r = &diskRing{q: q}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	d.mu.Lock()
	old := d.rings[q.Index()]
	d.rings[q.Index()] = r
	d.mu.Unlock()
	old.close()
	d.post(colo.RingStart{Ring: d.ring(q.Index()), Digest: colo.Digest(digest), Fresh: q.Fresh()})
	return r, nil
}

func (r *diskRing) close() {
	if r != nil && r.q != nil {
		_ = unix.Close(r.wake) // it has nothing to lose
	}
}

// await waits for the ring's release; false says that it is to stop first.
func (d *Disk) await(r *diskRing, q *vhostuser.Queue) (bool, error) {
	for {
		d.mu.Lock()
		released := r.released
		d.mu.Unlock()
		if released || q.Stopping() {
			return released && !q.Stopping(), nil
		}
		fds := []unix.PollFd{
			{Fd: int32(q.StopFD()), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN},
		}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return false, fmt.Errorf("waiting for the release of a ring: %w", err)
		}
	}
}

// release lets a ring run.
func (d *Disk) release(queue int) {
	d.mu.Lock()
	if r := d.rings[queue]; r != nil && r.stopped == nil {
		r.released = true
		if r.q != nil {
			one := [8]byte{1}
			_, _ = unix.Write(r.wake, one[:]) // full means that it is readable already
		}
	}
	d.mu.Unlock()
	d.device.Resume()
}

// Halting is vhostuser.Stopper's.
func (d *Disk) Halting() { d.halting() }

// Stopped tells the machine that the front end stops the device, and waits until it has answered for
// every ring.
func (d *Disk) Stopped(rings []vhostuser.RingDigest) {
	var answers []chan struct{}
	d.mu.Lock()
	for _, s := range rings {
		r := d.rings[s.Queue]
		if r == nil {
			r = &diskRing{}
			d.rings[s.Queue] = r
		}
		r.digest, r.stopped = colo.Digest(s.Digest), make(chan struct{})
		answers = append(answers, r.stopped)
	}
	d.mu.Unlock()
	for _, s := range rings {
		d.post(colo.StopRequested{Ring: d.ring(s.Queue)})
	}
	for _, c := range answers {
		select {
		case <-c:
		case <-d.over:
		}
	}
}

// drain answers the machine's Drain: a ring that is asked to stop is quiet already.
func (d *Disk) drain(queue int) {
	d.mu.Lock()
	r := d.rings[queue]
	ok := r != nil && r.stopped != nil
	d.mu.Unlock()
	if ok {
		d.post(colo.Drained{Ring: d.ring(queue), Digest: r.digest})
	}
}

// answer ends a ring's stop. If the ring is not started anew but goes on, that is a start, too.
func (d *Disk) answer(queue int) {
	d.mu.Lock()
	r := d.rings[queue]
	if r != nil {
		delete(d.rings, queue)
	}
	d.mu.Unlock()
	if r != nil && r.stopped != nil {
		close(r.stopped)
		r.close()
	}
}

// still finishes what was taken of all rings and returns their digests. It may have to wait for the
// fence, for a time.
func (d *Disk) still() (colo.Digests, error) {
	d.device.Pause()
	d.mu.Lock()
	rings := make(map[int]*diskRing, len(d.rings))
	for i, r := range d.rings {
		rings[i] = r
	}
	d.mu.Unlock()
	digests := colo.Digests{}
	for i, r := range rings {
		digest, ok, err := d.digestOf(i, r)
		if err != nil {
			return nil, err
		}
		if ok {
			digests[d.ring(i)] = digest
		}
	}
	return digests, nil
}

// digestOf looks at a ring that is held, paused or stopped; not ok if it went meanwhile.
func (d *Disk) digestOf(queue int, r *diskRing) (colo.Digest, bool, error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	d.mu.Lock()
	same, stopped, digest := d.rings[queue] == r, r.stopped != nil, r.digest
	d.mu.Unlock()
	switch {
	case !same:
		return 0, false, nil
	case stopped:
		return digest, true, nil
	case !r.runs:
		return colo.Digest(r.last), r.lastErr == nil, r.lastErr
	}
	sum, err := r.q.Digest()
	return colo.Digest(sum), err == nil, err
}

// gone forgets all rings: their front end went away without a stop.
func (d *Disk) gone() {
	d.mu.Lock()
	known := len(d.rings) > 0
	for i, r := range d.rings {
		delete(d.rings, i)
		r.close()
	}
	d.mu.Unlock()
	d.device.Resume()
	if known {
		d.post(colo.Disconnected{Disk: d.index})
	}
}

// Listener tells the disk of front ends that hung up. The server accepts the next one when the last
// one's rings are drained.
func (d *Disk) Listener(l net.Listener) net.Listener { return &listener{l, d} }

type listener struct {
	net.Listener
	disk *Disk
}

func (l *listener) Accept() (net.Conn, error) {
	l.disk.gone()
	c, err := l.Listener.Accept()
	if err == nil {
		l.disk.mu.Lock()
		l.disk.front = c
		l.disk.mu.Unlock()
	}
	return c, err
}

// hangUp ends the front end's connection: what waits for an answer then does not get one.
func (d *Disk) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.front != nil {
		_ = d.front.Close()
	}
}
