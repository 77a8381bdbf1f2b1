package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What a round does; and how often the rare deeds are done, in rounds.
const (
	writesPerRound = 4
	readsPerRound  = 8
	everythingEach = 25
	renewEach      = 10
	// failLines bounds what is said: a disk that is wrong is wrong everywhere.
	failLines = 20
)

// ledger is the state in memory. The Go heap moves nothing, so the table's pages are
// written at every round and are part of every checkpoint.
type ledger struct {
	dir    string
	out    io.Writer
	random *rand.Rand
	files  []*file

	generation           uint64
	rounds, fails        int
	blocksWritten, reads int
	block, scratch       []byte
}

// file is one on disk, with what each of its blocks has to hold.
type file struct {
	id     uint64
	path   string
	direct *os.File // past the page cache
	cached *os.File
	want   []place
}

// open makes a new ledger in an empty directory.
func open(dir string, out io.Writer, files, blocks int) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := &ledger{dir: dir, out: out, random: rand.New(rand.NewPCG(1, uint64(os.Getpid()))),
		block: aligned(blockSize), scratch: make([]byte, blockSize)}
	for i := range files {
		f, err := l.create(uint64(i), blocks)
		if err != nil {
			return nil, err
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

// create makes a file whose blocks all hold their first generation.
func (l *ledger) create(id uint64, blocks int) (*file, error) {
	f := &file{id: id, path: filepath.Join(l.dir, fmt.Sprintf("file%d-%d", id, l.generation)),
		want: make([]place, blocks)}
	var err error
	f.cached, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if f.direct, err = os.OpenFile(f.path, os.O_RDWR|unix.O_DIRECT, 0); err != nil {
		return nil, err
	}
	for b := range f.want {
		if err := l.write(f, b, f.cached); err != nil {
			return nil, err
		}
	}
	if err := f.cached.Sync(); err != nil {
		return nil, err
	}
	return f, l.syncDir()
}

// syncDir makes names durable.
func (l *ledger) syncDir() error {
	d, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// round writes, compares and reports. An error is the disk's own; a disagreement is none.
func (l *ledger) round() error {
	l.rounds++
	if l.rounds%renewEach == 0 {
		if err := l.renew(); err != nil {
			return err
		}
	}
	for range writesPerRound {
		f := l.files[l.random.IntN(len(l.files))]
		how := f.cached
		if l.random.IntN(2) == 0 {
			how = f.direct
		}
		if err := l.write(f, l.random.IntN(len(f.want)), how); err != nil {
			return err
		}
		if err := f.cached.Sync(); err != nil {
			return err
		}
	}
	before := l.fails
	if err := l.compare(); err != nil {
		return err
	}
	if l.fails == before {
		l.say("round %d ok, %d blocks written, %d read", l.rounds, l.blocksWritten, l.reads)
	}
	return nil
}

// write gives a block its next generation.
func (l *ledger) write(f *file, b int, how *os.File) error {
	l.generation++
	p := place{f.id, uint64(b), l.generation}
	p.fill(l.block)
	if _, err := how.WriteAt(l.block, int64(b)*blockSize); err != nil {
		return err
	}
	f.want[b] = p
	l.blocksWritten++
	return nil
}

// compare reads some blocks, and now and then all of them, with names and sizes.
func (l *ledger) compare() error {
	if l.rounds%everythingEach == 0 {
		return l.everything()
	}
	for range readsPerRound {
		f := l.files[l.random.IntN(len(l.files))]
		if err := l.read(f, l.random.IntN(len(f.want))); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) everything() error {
	// It fails in a test on the host, where it is not needed.
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
	for _, f := range l.files {
		switch fi, err := os.Stat(f.path); {
		case err != nil:
			l.fail("%v", err)
		case fi.Size() != int64(len(f.want))*blockSize:
			l.fail("file %d: %d bytes, want %d blocks", f.id, fi.Size(), len(f.want))
		}
		for b := range f.want {
			if err := l.read(f, b); err != nil {
				return err
			}
		}
	}
	names, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	if len(names) != len(l.files) {
		l.fail("%d files, want %d", len(names), len(l.files))
	}
	return nil
}

// read compares one block. Reading past the cache sees what the device has.
func (l *ledger) read(f *file, b int) error {
	if _, err := f.direct.ReadAt(l.block, int64(b)*blockSize); err != nil {
		return err
	}
	l.reads++
	if err := f.want[b].judge(l.block, l.scratch); err != nil {
		l.fail("file %d block %d: %v", f.id, b, err)
	}
	return nil
}

// renew replaces a file by a new one with another name.
func (l *ledger) renew() error {
	i := l.random.IntN(len(l.files))
	old := l.files[i]
	f, err := l.create(old.id, len(old.want))
	if err != nil {
		return err
	}
	l.files[i] = f
	old.direct.Close()
	old.cached.Close()
	return os.Remove(old.path)
}

func (l *ledger) fail(format string, args ...any) {
	if l.fails++; l.fails > failLines {
		return
	}
	l.say("FAIL round %d: %s", l.rounds, fmt.Sprintf(format, args...))
}

// say prints a line in one piece; a console that takes none changes nothing.
func (l *ledger) say(format string, args ...any) {
	fmt.Fprintf(l.out, "ledger: "+format+"\n", args...)
}
