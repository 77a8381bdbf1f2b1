package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
	"golang.org/x/sys/unix"
)

// front-end SOCKET OPERATION... is a guest that does one thing after the other:
//
//	write SECTOR TEXT, expect SECTOR TEXT, flush, discard SECTOR COUNT
//	hold FILE     makes the file and goes on when it is gone
//	size BYTES    demands this size of the disk
//	segments N    demands that requests may have so many pieces
//	cache 0|1     switches the write cache; expect-cache 0|1 demands that it is so
func frontEnd(args []string) error {
	f, err := vhosttest.Connect(args[0], guestOptions)
	if err != nil {
		return err
	}
	defer f.Close()
	return guest(f, args[1:])
}

// Places in the config space (virtio 1.2, section 5.2.4).
const (
	segMaxOffset    = 12
	writebackOffset = 32
)

var guestOptions = vhosttest.Options{EventIdx: true, Indirect: true, Inflight: true}

// guest starts the disk and does the operations.
func guest(f *vhosttest.FrontEnd, args []string) error {
	if err := f.Start(); err != nil {
		return err
	}
	disk, err := vhosttest.NewDisk(f.Queue(0), 8, 1<<16)
	if err != nil {
		return err
	}
	for len(args) > 0 {
		n, err := operate(f, disk, args)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args[:n], " "), err)
		}
		args = args[n:]
	}
	return f.Stop()
}

// operate does the first operation and returns how many words it has.
func operate(f *vhosttest.FrontEnd, disk *vhosttest.Disk, args []string) (int, error) {
	var number uint64
	if len(args) > 1 {
		number, _ = strconv.ParseUint(args[1], 10, 64) // 0 for a file
	}
	switch sector := make([]byte, sectorSize); args[0] {
	case "write":
		copy(sector, args[2])
		return 3, disk.Write(number, sector)
	case "expect":
		err := disk.Read(number, sector)
		if err == nil && !bytes.HasPrefix(sector, []byte(args[2])) {
			err = fmt.Errorf("found %.20q", sector)
		}
		return 3, err
	case "discard":
		count, err := strconv.ParseUint(args[2], 10, 32)
		return 3, errors.Join(err, disk.Discard(number, uint32(count)))
	case "flush":
		return 1, disk.Flush()
	case "size":
		sectors, err := f.Capacity()
		if err == nil && sectors*sectorSize != number {
			err = fmt.Errorf("the disk has %d sectors", sectors)
		}
		return 2, err
	case "segments":
		space, err := f.Config(segMaxOffset, 4)
		if err == nil && binary.LittleEndian.Uint32(space) != uint32(number) {
			err = fmt.Errorf("the disk takes % x segments", space)
		}
		return 2, err
	case "cache":
		return 2, f.WriteConfig(writebackOffset, []byte{byte(number)})
	case "expect-cache":
		space, err := f.Config(writebackOffset, 1)
		if err == nil && space[0] != byte(number) {
			err = fmt.Errorf("the cache is at %d", space[0])
		}
		return 2, err
	case "hold":
		if err := os.WriteFile(args[1], nil, 0o600); err != nil {
			return 2, err
		}
		return 2, await("the end of "+args[1], func() bool {
			_, err := os.Stat(args[1])
			return err != nil
		})
	}
	return 1, errors.New("no such operation")
}

// plug "OPERATIONS" PROGRAM [ARGUMENTS...] starts a program with one end of a connection as file
// descriptor 3, is the front end at the other end, and demands that the program ends with 0 when
// the front end is gone.
func plug(args []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "front end")
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = theirs.Close() // the program has its own
	ours := os.NewFile(uintptr(pair[0]), "back end")
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	_ = ours.Close() // conn has its own
	f, err := vhosttest.NewConn(conn.(*net.UnixConn), guestOptions)
	if err != nil {
		return err
	}
	err = errors.Join(guest(f, strings.Fields(args[0])), f.Close())
	return errors.Join(err, cmd.Wait())
}

// activate COUNT SOCKET PROGRAM [ARGUMENTS...] becomes the program, to which it passes listening
// sockets as systemd does. Each has the path SOCKET with its number behind.
func activate(args []string) error {
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range count {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[1] + strconv.Itoa(i), Net: "unix"})
		if err != nil {
			return err
		}
		file, err := l.File()
		if err != nil {
			return err
		}
		if err := unix.Dup3(int(file.Fd()), 3+i, 0); err != nil {
			return err
		}
	}
	program, err := exec.LookPath(args[2])
	if err != nil {
		return err
	}
	env := append(os.Environ(), "LISTEN_FDS="+args[0], "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	return unix.Exec(program, args[2:], env)
}

// notified FILE PROGRAM [ARGUMENTS...] runs a program as systemd does one of type notify, and
// writes what it says to FILE, a line each.
func notified(args []string) error {
	file, err := os.Create(args[0])
	if err != nil {
		return err
	}
	path, err := filepath.Abs(args[0] + ".sock")
	if err != nil {
		return err
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	heard := make(chan error)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := l.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				heard <- nil
				return
			}
			if err != nil {
				heard <- err
				return
			}
			fmt.Fprintln(file, string(buf[:n]))
		}
	}()
	err = cmd.Run()
	return errors.Join(err, l.Close(), <-heard, file.Close())
}
