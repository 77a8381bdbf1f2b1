package checkpoint

import "golang.org/x/sys/unix"

// emptyFS is a directory of the host with real files, but for the data area: that has a length and
// no content. What the store does with journal and map, and what that costs, is as it ever is;
// only the data itself is left out.
type emptyFS struct{ FS }

// emptyFile is such a data area.
type emptyFile struct{ File }

func (d emptyFS) Create(name string) (File, error) { return emptied(d.FS.Create(name))(name) }

func (d emptyFS) Open(name string, m Mode) (File, error) { return emptied(d.FS.Open(name, m))(name) }

func emptied(f File, err error) func(name string) (File, error) {
	return func(name string) (File, error) {
		if err != nil || name != dataName {
			return f, err
		}
		return emptyFile{f}, nil
	}
}

// Allocate makes the file longer, and nothing else: fallocate would take the space.
func (f emptyFile) Allocate(off, n int64) error {
	size, err := f.Size()
	if err != nil || size >= off+n {
		return err
	}
	return f.Truncate(off + n)
}

func (emptyFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (emptyFile) Punch(int64, int64) error               { return nil }

// instantEngine is an engine whose operations are over when they are queued, with nothing moved.
type instantEngine struct {
	over, taken []completion
	bytes, ops  int64 // written
}

func (e *instantEngine) Readv(_ int, iov []unix.Iovec, _ int64, tag uint64) {
	e.over = append(e.over, completion{tag, int32(bytesOf(iov))})
}

func (e *instantEngine) Writev(_ int, iov []unix.Iovec, _ int64, tag uint64) {
	n := bytesOf(iov)
	e.over = append(e.over, completion{tag, int32(n)})
	e.bytes, e.ops = e.bytes+n, e.ops+1
}

func (e *instantEngine) Fdatasync(_ int, tag uint64) { e.over = append(e.over, completion{tag, 0}) }

// take returns what is over. It is valid until the next call.
func (e *instantEngine) take() []completion {
	e.over, e.taken = e.taken[:0], e.over
	return e.taken
}
