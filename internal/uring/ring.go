package uring

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/park"
)

// MaxEntries is the most entries a submission queue has (the kernel's IORING_MAX_ENTRIES).
const MaxEntries = 32768

// ErrUnsupported marks a kernel whose io_uring is too old, or that refuses io_uring.
var ErrUnsupported = errors.New("io_uring is not available")

// Completion is the result of one operation: what it returned, or a negative errno.
type Completion struct {
	Tag uint64
	Res int32
}

// Ring is one io_uring. Only the thread that called New uses it.
type Ring struct {
	fd    int
	mode  string
	rings []byte // both rings (IORING_FEAT_SINGLE_MMAP)
	slots []byte // the submission entries

	sqHead, sqTail *uint32 // the kernel advances head, this side tail
	sqFlags        *uint32
	sqes           []sqe
	sqMask         uint32
	tail           uint32 // prepared up to here; *sqTail lags behind until handed over

	cqHead, cqTail *uint32 // the kernel advances tail, this side head
	cqes           []cqe
	cqMask         uint32

	outstanding uint32

	// held is where the preparing methods store the memory they were given. Nobody reads it: the
	// store makes that memory escape to the heap, where Go does not move it.
	held unsafe.Pointer
}

// modes are tried in this order; each is known to newer kernels than the next.
var modes = []struct {
	name  string
	flags uint32
}{
	{"defer-taskrun", setupSingleIssuer | setupDeferTaskrun | setupTaskrunFlag | setupSubmitAll},
	{"coop-taskrun", setupCoopTaskrun | setupTaskrunFlag | setupSubmitAll},
	{"plain", 0},
}

// New makes a ring whose submission queue has at least sq entries (as many as the kernel allows)
// and whose completion queue has at least cq.
func New(sq, cq uint32) (*Ring, error) {
	return newRing(sq, cq, 0)
}

// newRing tries the modes from number first on.
func newRing(sq, cq uint32, first int) (*Ring, error) {
	sq = min(max(sq, 1), MaxEntries)
	cq = min(max(cq, sq), 2*MaxEntries)
	var failed error
	for _, m := range modes[first:] {
		p := params{flags: m.flags | setupCQSize | setupClamp, cqEntries: cq}
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(sq), uintptr(unsafe.Pointer(&p)), 0)
		if errno == 0 {
			r := &Ring{fd: int(fd), mode: m.name}
			if err := r.open(&p); err != nil {
				return nil, errors.Join(err, r.Close())
			}
			return r, nil
		}
		failed = fmt.Errorf("%w: io_uring_setup: %w", ErrUnsupported, errno)
		if errno != unix.EINVAL { // EINVAL: a flag that this kernel does not know
			break
		}
	}
	return nil, failed
}

// open maps the rings that p describes.
func (r *Ring) open(p *params) error {
	const need = featSingleMmap | featNoDrop | featFastPoll
	if p.features&need != need {
		return fmt.Errorf("%w: kernel has features %#x, needed are %#x", ErrUnsupported, p.features, need)
	}
	size := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*cqeSize)
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	var err error
	if r.rings, err = unix.Mmap(r.fd, offSQRing, int(size), prot, flags); err != nil {
		return fmt.Errorf("map the rings of io_uring: %w", err)
	}
	if r.slots, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*sqeSize, prot, flags); err != nil {
		return fmt.Errorf("map the entries of io_uring: %w", err)
	}
	r.sqHead, r.sqTail, r.sqFlags = r.word(p.sq.head), r.word(p.sq.tail), r.word(p.sq.flags)
	r.cqHead, r.cqTail = r.word(p.cq.head), r.word(p.cq.tail)
	r.sqMask, r.cqMask = p.sqEntries-1, p.cqEntries-1
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.slots[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	r.tail = atomic.LoadUint32(r.sqTail)

	// Entry i of the array names submission entry i, for good.
	array := unsafe.Slice(r.word(p.sq.array), p.sqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

func (r *Ring) word(off uint32) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.rings[off]))
}

// Mode names the completion mode that the kernel granted.
func (r *Ring) Mode() string { return r.mode }

// Outstanding is the number of operations prepared and not yet reaped.
func (r *Ring) Outstanding() int { return int(r.outstanding) }

// Room is the number of operations that can be prepared now.
func (r *Ring) Room() int {
	return int(min(uint32(len(r.sqes))-r.unsubmitted(), uint32(len(r.cqes))-r.outstanding))
}

// unsubmitted is the number of entries that the kernel has not taken.
func (r *Ring) unsubmitted() uint32 { return r.tail - atomic.LoadUint32(r.sqHead) }

// Submit hands what was prepared to the kernel. When the kernel is out of memory for requests
// it takes fewer; the rest goes with the next Submit or Wait.
func (r *Ring) Submit() error {
	for {
		n := r.publish()
		if n == 0 {
			return nil
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, 0, 0, 0)
		switch errno {
		case 0, unix.EINTR:
		case unix.EAGAIN, unix.EBUSY:
			return nil
		default:
			return fmt.Errorf("io_uring_enter: submit %d: %w", n, errno)
		}
	}
}

// publish makes the prepared entries visible to the kernel and returns how many wait there.
func (r *Ring) publish() uint32 {
	n := r.unsubmitted()
	if n != 0 {
		atomic.StoreUint32(r.sqTail, r.tail)
	}
	return n
}

// Wait hands over what was prepared and blocks until there is something to reap.
func (r *Ring) Wait() error {
	if r.Ready() {
		return r.Submit()
	}
	for !r.Ready() {
		n := r.publish()
		_, errno := park.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 1, enterGetEvents, 0, 0)
		switch errno {
		case 0, unix.EINTR:
		case unix.EAGAIN, unix.EBUSY:
			runtime.Gosched()
		default:
			return fmt.Errorf("io_uring_enter: wait: %w", errno)
		}
	}
	return nil
}

// Ready reports whether there is something to reap. It lets the kernel finish operations whose
// results it holds back until asked (deferred task work).
func (r *Ring) Ready() bool {
	if r.cqAvailable() {
		return true
	}
	if atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) == 0 {
		return false
	}
	// Interrupted or refused: the next call asks again.
	_, _, _ = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, 0, enterGetEvents, 0, 0)
	return r.cqAvailable()
}

func (r *Ring) cqAvailable() bool {
	return atomic.LoadUint32(r.cqTail) != *r.cqHead // nobody else writes cqHead
}

// Reap takes results, as many as there are and out holds.
func (r *Ring) Reap(out []Completion) int {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	n := min(int(tail-head), len(out))
	for i := range out[:n] {
		c := &r.cqes[(head+uint32(i))&r.cqMask]
		out[i] = Completion{Tag: c.userData, Res: c.res}
	}
	if n > 0 {
		atomic.StoreUint32(r.cqHead, head+uint32(n))
		r.outstanding -= uint32(n)
	}
	return n
}

// Close releases the ring. Operations still outstanding are cancelled by the kernel at a time of
// its own, so the memory they name must outlive them; reap them first.
func (r *Ring) Close() error {
	var errs []error
	for _, m := range [][]byte{r.slots, r.rings} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	errs = append(errs, unix.Close(r.fd))
	*r = Ring{fd: -1}
	return errors.Join(errs...)
}
