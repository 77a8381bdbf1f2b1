package aio

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/uring"
)

// MaxWatches is the most eventfds that one engine watches at a time.
const MaxWatches = 8

// ErrIdle answers a blocking Wait when nothing is in flight and nothing is watched: it would
// never end.
var ErrIdle = errors.New("nothing to wait for")

// Completion is what became of an operation or a watch: a count, or a negative errno.
type Completion = uring.Completion

// Engine is a bio.Engine whose owner can wait for it.
type Engine interface {
	bio.Engine

	// Watch reads fd, an eventfd, once; its completion says that it fired.
	Watch(fd int, tag uint64)
	// Unwatch ends the watch with that tag early. Its completion comes in any case: with
	// -ECANCELED, or as if it had fired when that was first.
	Unwatch(tag uint64)
	// Submit starts everything that was queued.
	Submit() error
	// Wait starts everything that was queued and takes completions; with block set it does not
	// return before there is one.
	Wait(out []Completion, block bool) (int, error)
	// Close ends the watches, waits for the operations in flight, and releases the engine.
	Close() error
	// Kind says what the engine is.
	Kind() Kind
}

// Kind names a way of moving data.
type Kind string

// The kinds of engines.
const (
	Uring   Kind = "uring"
	Inline  Kind = "inline"
	Threads Kind = "threads"
)

// New makes an engine on and for the calling thread, to which the goroutine must be locked. depth
// is the number of operations that are usually in flight.
func New(kind Kind, depth int) (Engine, error) {
	switch kind {
	case Uring:
		return newRingEngine(depth)
	case Inline:
		return newInlineEngine(depth), nil
	case Threads:
		return newPoolEngine(depth)
	}
	return nil, fmt.Errorf("unknown I/O engine %q: want %s, %s or %s", kind, Uring, Inline, Threads)
}

// Pick chooses the kind for a file, and says why in a few words.
func Pick(fd int) (Kind, string) {
	if onTmpfs(fd) {
		return Inline, "the data lies on tmpfs, where io_uring is slower"
	}
	if err := probeRing(); err != nil {
		return Threads, err.Error()
	}
	return Uring, "io_uring is available"
}

// onTmpfs reports whether a file's content lies on tmpfs. (The node of a device does, as far as
// Fstatfs is concerned; its content does not.)
func onTmpfs(fd int) bool {
	var st unix.Stat_t
	var fs unix.Statfs_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG &&
		unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// opcode is what an op asks for.
type opcode uint8

const (
	opReadv opcode = iota
	opWritev
	opFdatasync
	opWatch
	opPoll
	opCancel // of the operation with this tag
)

// op is an operation that waits to be started.
type op struct {
	code opcode
	fd   int
	off  int64
	iov  []unix.Iovec
	tag  uint64
}
