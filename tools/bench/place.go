package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// placement says where the front end runs. Back ends, and fio, always run on the back end's CPU.
type placement struct {
	apart bool   // on a CPU of its own
	wait  string // how it waits, in vhostbench's words
}

var (
	together = placement{wait: "eventfd"}
	apart    = placement{apart: true, wait: "poll"}
)

// waiting is what a front end does, by vhostbench's words.
var waiting = map[string]string{"poll": "polling", "eventfd": "asleep until called"}

// describe says it with the run's CPUs.
func (p placement) describe(o *options) string {
	if p.cpu(o) == o.backendCPU {
		return fmt.Sprintf("both on CPU %d, front end %s", o.backendCPU, waiting[p.how(o)])
	}
	return fmt.Sprintf("back end on CPU %d, front end %s on CPU %d", o.backendCPU, waiting[p.how(o)],
		o.clientCPU)
}

// cpu is the front end's.
func (p placement) cpu(o *options) int {
	if p.apart {
		return o.clientCPU
	}
	return o.backendCPU
}

// how the front end waits. Who polls on the CPU of the one he waits for waits for ever: on a
// machine with one CPU, which only the short form takes, nobody does.
func (p placement) how(o *options) string {
	if p.cpu(o) == o.backendCPU {
		return together.wait
	}
	return p.wait
}

// prefix of the directories that are ours to remove.
const prefix = "run-"

// ErrMemory is returned for a directory that lies in memory where a disk is meant.
var ErrMemory = errors.New("lies in memory, and this measures disks: choose another --dir")

// scratch is a directory that goes away with the run. It is locked as long as it is in use, so
// that a later run can tell, and take away what a killed one left.
type scratch struct {
	path string
	lock *os.File
}

func newScratch(parent string) (*scratch, error) {
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, err
	}
	if err := sweep(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	s := &scratch{path: path}
	if s.lock, err = lockDir(path); err != nil {
		os.RemoveAll(path)
		return nil, err
	}
	return s, nil
}

func (s *scratch) remove() {
	os.RemoveAll(s.path)
	_ = s.lock.Close()
	_ = os.Remove(filepath.Dir(s.path)) // unless there is something else in it
}

// lockDir takes a directory's lock, which is gone with the process. The lock is a file: belay
// locks directories itself, those of its sockets.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: lock: %w", path, err)
	}
	return f, nil
}

// sweep removes what runs left that did not come to their end.
func sweep(parent string) error {
	left, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		f, err := lockDir(path)
		if err != nil {
			continue // in use
		}
		err = os.RemoveAll(path)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// onDisk refuses a directory on a file system in memory.
func onDisk(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s %w", path, ErrMemory)
	}
	return nil
}

// hasRoom refuses a directory without room for so many bytes.
func hasRoom(path string, bytes int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < bytes {
		return fmt.Errorf("%s has %d MiB free and %d MiB are needed: choose another directory or a smaller --size",
			path, free>>20, bytes>>20)
	}
	return nil
}

// settleDisk waits until a directory's file system has written everything, discards included:
// what removed files leave to be done must not fall into somebody's turn.
func settleDisk(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("%s: sync: %w", path, err)
	}
	return nil
}
