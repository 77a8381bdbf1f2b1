package checkpoint

// File is an open file or device: the only way in which a store touches a disk.
//
// Every method may be called by several goroutines at once. Offsets and lengths given to a
// file opened with Direct are multiples of the block size and so are the addresses of the
// buffers (see memAlign); the callers see to that.
type File interface {
	// Fd is the number that an Engine of the same disk takes.
	Fd() int

	// ReadAt and WriteAt move len(p) bytes or return an error, io.EOF past the end.
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)

	// Sync makes content, mapped content and size durable. After an error nothing is known
	// about what was written since the last success, and a later success says nothing about it.
	Sync() error

	Truncate(size int64) error
	Size() (int64, error)

	// Allocate reserves space for n bytes from off and extends the file as far as needed;
	// ErrNoSpace when there is none.
	Allocate(off, n int64) error
	// Punch gives space back, after which it reads as zeroes. Where the disk cannot do it,
	// nothing happens and there is no error.
	Punch(off, n int64) error

	// Map returns the first n bytes, which must exist, as shared memory; read-only memory
	// if the file is open for reading only.
	Map(n int64) ([]byte, error)
	Unmap(p []byte) error

	// Lock takes the exclusive lock of this open file, without waiting; ErrLocked. It ends
	// when the last I/O on this open file has ended, not merely when the process does.
	Lock() error
	Close() error
}

// Mode says how to open a file.
type Mode uint8

// Bits of a Mode.
const (
	// ReadOnly opens for reading, and claims nothing.
	ReadOnly Mode = 1 << iota
	// Direct bypasses the page cache where the disk says that it can.
	Direct
)

// FS is where a store's files are. Names are relative to the volume's directory; an
// absolute name is a device or file elsewhere.
type FS interface {
	// Create makes a new file and opens it for reading and writing; fs.ErrExist if the
	// name is taken. The name is durable after SyncDir.
	Create(name string) (File, error)
	// Open opens what exists. A device opened for writing is claimed exclusively.
	Open(name string, m Mode) (File, error)
	Remove(name string) error
	Exists(name string) (bool, error)
	// SyncDir makes the directory's names durable.
	SyncDir() error
	// BootID changes whenever the kernel, and with it what was not synced, may have been
	// lost. Empty when it cannot be known.
	BootID() string
}

// memAligner is implemented by files that need aligned memory.
type memAligner interface{ MemAlign() int }

// memAlign returns what the addresses and lengths of I/O buffers of f must be multiples of:
// 1 where the page cache takes anything.
func memAlign(f File) int {
	if a, ok := f.(memAligner); ok {
		return a.MemAlign()
	}
	return 1
}
