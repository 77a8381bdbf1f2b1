// Command target passes probe points as its standard input says, and does some I/O, so that tests
// know exactly what a tracer has to see. (A test's own program has no symbols.)
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/probe"
	"github.com/belay-vm/belay/internal/uring"
)

// command is followed by Count records. The answer is how many nanoseconds of
// this thread it took: others may want the processor, too.
type command struct {
	Op     uint32
	Count  uint32
	Repeat uint64
	Args   [5]uint64
}

var ops = []func(c *command, records []probe.Request) error{
	point(func(c *command, r []probe.Request) { probe.Requests(r, c.Args[0], c.Args[1]) }),
	point(func(c *command, _ []probe.Request) { probe.Kick(c.Args[0], c.Args[1]) }),
	point(func(c *command, _ []probe.Request) { probe.Notify(c.Args[0], c.Args[1]) }),
	point(func(c *command, _ []probe.Request) {
		probe.FlushRound(c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4])
	}),
	point(func(c *command, _ []probe.Request) { probe.CheckpointStart(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.CheckpointSealed(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.CheckpointRetired(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.Rollback(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.Resubmit(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.MirrorSend(c.Args[0], c.Args[1], c.Args[2]) }),
	point(func(c *command, _ []probe.Request) { probe.MirrorAck(c.Args[0], c.Args[1], c.Args[2]) }),
	write,
}

func point(pass func(*command, []probe.Request)) func(*command, []probe.Request) error {
	return func(c *command, records []probe.Request) error {
		for range c.Repeat {
			pass(c, records)
		}
		return nil
	}
}

func main() {
	runtime.LockOSThread()
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "target:", err) // the test misses an answer
	}
}

func serve() error {
	for {
		var c command
		if err := binary.Read(os.Stdin, binary.LittleEndian, &c); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		records := make([]probe.Request, c.Count)
		if err := binary.Read(os.Stdin, binary.LittleEndian, records); err != nil {
			return err
		}
		start := cpuTime()
		if err := ops[c.Op](&c, records); err != nil {
			return err
		}
		took := cpuTime() - start
		if err := binary.Write(os.Stdout, binary.LittleEndian, took); err != nil {
			return err
		}
	}
}

// cpuTime is in nanoseconds.
func cpuTime() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// write makes Repeat direct writes of 4 KiB, each followed by a sync, through io_uring, and one
// that fails, to the file that is the argument.
func write(c *command, _ []probe.Request) error {
	fd, err := unix.Open(os.Args[1], unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ring, err := uring.New(8, 8)
	if err != nil {
		return err
	}
	data, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	iov := []unix.Iovec{{Base: &data[0], Len: 4096}}
	for i := range c.Repeat {
		ring.Writev(fd, iov, int64(i)*4096, 1)
		if err := one(ring, 4096); err != nil {
			return err
		}
		ring.Fdatasync(fd, 2)
		if err := one(ring, 0); err != nil {
			return err
		}
	}
	ring.Writev(-1, iov, 0, 3)
	return errors.Join(one(ring, -int32(unix.EBADF)), ring.Close())
}

func one(ring *uring.Ring, want int32) error {
	if err := ring.Wait(); err != nil {
		return err
	}
	var done [1]uring.Completion
	if ring.Reap(done[:]) != 1 || done[0].Res != want {
		return fmt.Errorf("io_uring answered %d, not %d", done[0].Res, want)
	}
	return nil
}
