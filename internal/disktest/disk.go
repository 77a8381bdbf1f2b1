package disktest

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"

	"golang.org/x/sys/unix"
)

// Disk is a directory of files. Its methods and those of its files and engines may be called by
// several goroutines at once.
type Disk struct {
	mu      sync.Mutex // guards everything below, and the inodes
	rng     *rand.Rand
	boot    string
	names   []dirent // as the running system sees them
	stable  []dirent // as of the last SyncDir
	open    map[int]*File
	fd      int
	engines []*Engine

	capacity int64 // bytes; 0: unlimited
	ops      int
	reads    int
	fail     map[int]error
	failRead map[int]error
	hook     func(op int)
}

// dirent is a name in the directory.
type dirent struct {
	name string
	ino  *inode
}

// New returns an empty disk whose every choice follows from the seed.
func New(seed uint64) *Disk {
	d := &Disk{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), open: map[int]*File{}, fd: 1000}
	d.boot = d.newBootID()
	return d
}

// newBootID makes a number in the form of the kernel's.
func (d *Disk) newBootID() string {
	var p [16]byte
	binary.LittleEndian.PutUint64(p[:], d.rng.Uint64())
	binary.LittleEndian.PutUint64(p[8:], d.rng.Uint64())
	return fmt.Sprintf("%x-%x-%x-%x-%x", p[:4], p[4:6], p[6:8], p[8:10], p[10:])
}

// Hook has fn called after every operation, with its number, by the goroutine that did it. fn may
// use the disk; operations of its own are counted, too.
func (d *Disk) Hook(fn func(op int)) {
	d.mu.Lock()
	d.hook = fn
	d.mu.Unlock()
}

// Ops returns how many operations there were.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// FailAt makes the operation with a number fail.
func (d *Disk) FailAt(op int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		d.fail = map[int]error{}
	}
	d.fail[op] = err
}

// Reads returns how many reads of files there were.
func (d *Disk) Reads() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads
}

// FailReadAt makes the read with a number fail.
func (d *Disk) FailReadAt(read int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failRead == nil {
		d.failRead = map[int]error{}
	}
	d.failRead[read] = err
}

// SetCapacity bounds the bytes that files take; 0 is no bound.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	d.capacity = bytes
	d.mu.Unlock()
}

// Used returns the bytes that files take.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() (n int64) {
	for _, e := range d.names {
		if !e.ino.device {
			n += e.ino.held * pageSize
		}
	}
	return n
}

// BootID names the running kernel; another one runs after a PowerCut.
func (d *Disk) BootID() string { return d.boot }

// begin counts an operation and returns the error that it shall have. The mutex is held until
// end; between the two, the operation happens.
func (d *Disk) begin() (op int, err error) {
	d.mu.Lock()
	d.ops++
	d.writeBack()
	return d.ops, d.fail[d.ops]
}

func (d *Disk) end(op int) {
	hook := d.hook
	d.mu.Unlock()
	if hook != nil {
		hook(op)
	}
}

// beginRead counts a read.
func (d *Disk) beginRead() error {
	d.reads++
	return d.failRead[d.reads]
}

// writeBack lets the kernel notice some of the mapped memory: what it sees now may be on the disk
// after a cut even if the memory changes again.
func (d *Disk) writeBack() {
	if d.rng.Uint32()%4 != 0 {
		return
	}
	for _, e := range d.names {
		if pages := len(e.ino.mem) / pageSize; pages > 0 {
			e.ino.capturePage(int(d.rng.Uint32N(uint32(pages))))
		}
	}
}

func (d *Disk) find(name string) *inode {
	for _, e := range d.names {
		if e.name == name {
			return e.ino
		}
	}
	return nil
}

// Create makes a file and opens it for reading and writing.
func (d *Disk) Create(name string) (*File, error) {
	op, err := d.begin()
	defer d.end(op)
	switch {
	case err != nil:
	case d.find(name) != nil:
		err = fs.ErrExist
	default:
		ino := &inode{}
		d.names = append(d.names, dirent{name, ino})
		return d.handle(name, ino, false, false), nil
	}
	return nil, pathError("create", name, err)
}

// AddDevice makes a block device: a file of fixed size whose name is durable.
func (d *Disk) AddDevice(name string, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino := &inode{device: true, size: size, stableSize: size}
	ino.resizeTables()
	d.names = append(d.names, dirent{name, ino})
	d.stable = append(d.stable, dirent{name, ino})
}

// Open opens a file that exists. With direct, offsets, lengths and addresses of reads and writes
// must be multiples of 512.
func (d *Disk) Open(name string, readOnly, direct bool) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino := d.find(name)
	if ino == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return d.handle(name, ino, readOnly, direct), nil
}

func (d *Disk) handle(name string, ino *inode, readOnly, direct bool) *File {
	d.fd++
	f := &File{d: d, ino: ino, name: name, fd: d.fd, readOnly: readOnly, direct: direct}
	d.open[f.fd] = f
	return f
}

// Remove takes a name away.
func (d *Disk) Remove(name string) error {
	op, err := d.begin()
	defer d.end(op)
	if err != nil {
		return pathError("remove", name, err)
	}
	for i, e := range d.names {
		if e.name == name {
			d.names = append(d.names[:i:i], d.names[i+1:]...)
			return nil
		}
	}
	return pathError("remove", name, fs.ErrNotExist)
}

// Exists reports whether there is a file of that name.
func (d *Disk) Exists(name string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(name) != nil, nil
}

// SyncDir makes the names durable.
func (d *Disk) SyncDir() error {
	op, err := d.begin()
	defer d.end(op)
	if err != nil {
		return pathError("syncdir", ".", err)
	}
	d.stable = append([]dirent(nil), d.names...)
	return nil
}

// Damage changes stored bytes of a file, durably, as a decaying disk would: edit gets the file's
// content.
func (d *Disk) Damage(name string, edit func(content []byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino := d.find(name)
	ino.sync()
	p := make([]byte, ino.size)
	ino.readAt(p, 0)
	edit(p)
	for i := 0; i*pageSize < len(p); i++ {
		var pg page
		copy(pg[:], p[i*pageSize:])
		if pg == *content(ino.live[i]) && pg == *content(ino.stable[i]) {
			continue
		}
		ino.live[i], ino.stable[i] = &pg, &pg
		if (i+1)*pageSize <= len(ino.mem) {
			copy(ino.mem[i*pageSize:], pg[:])
		}
	}
}

// Content returns a file's bytes, as a process would read them.
func (d *Disk) Content(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino := d.find(name)
	if ino == nil {
		return nil
	}
	p := make([]byte, ino.size)
	ino.readAt(p, 0)
	return p
}

// Close gives the mapped memory back. The files must not be used any more.
func (d *Disk) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.open {
		f.ino.unmap()
	}
	for _, e := range d.names {
		e.ino.unmap()
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// errLocked is what flock says.
const errLocked = unix.EWOULDBLOCK
