package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/tools/daemon"
)

// Programs that are looked for on the path.
const (
	storageDaemon = "qemu-storage-daemon"
	qemuImg       = "qemu-img"
	fioProgram    = "fio"
	taskset       = "taskset"
)

// patience is how long any one command may take; a load that runs for a time has that on top.
const patience = 5 * time.Minute

// lab is what a run has. It belongs to one goroutine.
type lab struct {
	o            *options
	disk, memory *scratch
	sockets      *scratch // with a short path: a socket's may have 107 bytes
	servers      map[*backend]*server
	images       map[string]string // paths by name and medium
	made         int               // directories of back ends so far
	seed         uint64            // of the last load
	show         *show
}

func newLab(o *options, s *show) (*lab, error) {
	l := &lab{o: o, show: s, servers: map[*backend]*server{}, images: map[string]string{}}
	if err := l.furnish(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// furnish makes the directories.
func (l *lab) furnish() (err error) {
	if l.disk, err = newScratch(l.o.dir); err != nil {
		return err
	}
	// Only now is it there to be asked.
	if err := onDisk(l.disk.path); err != nil && !l.o.short {
		return err
	}
	if l.memory, err = newScratch(l.o.shm); err != nil {
		return err
	}
	l.sockets, err = newScratch(filepath.Join(os.TempDir(), "belay-bench"))
	return err
}

// close ends every server and removes every file.
func (l *lab) close() {
	for _, s := range l.servers {
		s.Kill()
	}
	for _, d := range []*scratch{l.disk, l.memory, l.sockets} {
		if d != nil {
			d.remove()
		}
	}
}

// run runs a command to its end.
func (l *lab) run(ctx context.Context, args ...string) error {
	_, err := l.output(ctx, args...)
	return err
}

// output runs a command to its end and returns what it printed. On a terminal's Ctrl-C it is this
// program that ends its children: they are in a group of their own.
func (l *lab) output(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+l.o.turn())
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", args[0], ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

// pin puts a command on one CPU.
func pin(cpu int, command ...string) []string {
	return append([]string{taskset, "-c", strconv.Itoa(cpu)}, command...)
}

// server is a back end that runs.
type server struct {
	*daemon.Daemon
	b           *backend
	dir, socket string
	control     *control.Client // nil unless it serves a volume
}

// server returns the back end's server, which it starts at the first time.
func (l *lab) server(ctx context.Context, b *backend) (*server, error) {
	if s := l.servers[b]; s != nil {
		return s, nil
	}
	if !b.fresh {
		l.show.doing("preparing " + b.name + ": " + b.state)
	}
	parent := l.disk.path
	if b.memory {
		parent = l.memory.path
	}
	l.made++
	s := &server{b: b, dir: filepath.Join(parent, fmt.Sprintf("backend-%d", l.made)),
		socket: filepath.Join(l.sockets.path, strconv.Itoa(l.made))}
	if err := os.Mkdir(s.dir, 0o777); err != nil {
		return nil, err
	}
	if err := s.start(ctx, l); err != nil {
		return nil, fmt.Errorf("%s: %w", b.name, err)
	}
	if b.settle != nil {
		if err := b.settle(ctx, l, s); err != nil {
			return nil, s.blame(err)
		}
		if err := s.rest(ctx); err != nil {
			return nil, err
		}
	}
	return s, settleDisk(parent)
}

// start runs the command on the back end's CPU, as an operator would with taskset, and enters the
// server among those to be ended.
func (s *server) start(ctx context.Context, l *lab) (err error) {
	command, err := s.b.create(ctx, l, s.dir, s.socket)
	if err != nil {
		return err
	}
	c := daemon.Command{Args: pin(l.o.backendCPU, command...)}
	if !s.b.volume {
		c.Socket = s.socket
	}
	if s.Daemon, err = daemon.Start(c); err != nil {
		return err
	}
	l.servers[s.b] = s
	if s.b.volume {
		s.control, err = control.Dial(filepath.Join(s.dir, "volume"))
	}
	return err
}

// drop ends a server and takes away what it served.
func (l *lab) drop(s *server) error {
	s.Kill()
	delete(l.servers, s.b)
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	return settleDisk(filepath.Dir(s.dir))
}

// blame adds to a failure what the back end said.
func (s *server) blame(err error) error {
	if said := s.Log(); said != "" {
		return fmt.Errorf("%s: %w\nthe back end said: %s", s.b.name, err, said)
	}
	return fmt.Errorf("%s: %w", s.b.name, err)
}

// restless is how long a volume's work in the background is waited for.
const restless = 30 * time.Second

// rest waits until the volume has nothing left to do, so that it does not do it in another's
// turn.
func (s *server) rest(ctx context.Context) error {
	if s.control == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, restless)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := s.control.Status(ctx)
		if err != nil {
			return s.blame(err)
		}
		if status.Background == "idle" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s.blame(fmt.Errorf("waiting for it to be idle, it is in %s: %w", status.Background, ctx.Err()))
		}
	}
}

// image returns a raw file that is written in full, in order; it is made at the first time.
func (l *lab) image(ctx context.Context, name string, memory bool) (string, error) {
	parent := l.disk.path
	if memory {
		parent = l.memory.path
	}
	path := filepath.Join(parent, name)
	if l.images[path] != "" {
		return path, nil
	}
	if err := writeImage(ctx, path, l.o.bytes()); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	l.images[path] = path
	return path, settleDisk(parent)
}

// inMemory says whether a directory of ours is the one in /dev/shm.
func (l *lab) inMemory(dir string) bool { return strings.HasPrefix(dir, l.memory.path+"/") }

// piece is how much of an image is written at once.
const piece = 1 << 20

// writeImage writes noise, so that no layer below finds anything to leave out, around the page
// cache.
func writeImage(ctx context.Context, path string, bytes int64) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_DIRECT, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Munmap(buf)) }()
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&buf[0])), len(buf)/8)
	for i := range words {
		words[i] = rand.Uint64()
	}
	for at := int64(0); at < bytes; at += piece {
		words[0] = uint64(at) // pieces differ
		if _, err := f.WriteAt(buf[:min(piece, bytes-at)], at); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return f.Sync()
}
