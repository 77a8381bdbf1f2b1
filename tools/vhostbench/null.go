package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"

	"github.com/belay-vm/belay/internal/size"
	"github.com/belay-vm/belay/vhostuser"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func nullVerb(stdout io.Writer) *cobra.Command {
	var socket string
	disk := size.Flag(1 << 30)
	cmd := &cobra.Command{
		Use:   "null --socket-path PATH",
		Short: "Serve a disk that does nothing, at once",
		Long: `Serve a disk that completes every request at once and moves no data, with the notifications of
a real back end: what vhostbench reaches on it is the most it can ask of any other.

One line, 'ready SOCKET', on stdout says that front ends may connect.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				return usagef("--socket-path is missing")
			}
			var lc net.ListenConfig
			l, err := lc.Listen(cmd.Context(), "unix", socket)
			if err != nil {
				return err
			}
			fmt.Fprintf(stdout, "ready %s\n", socket)
			return serveNull(cmd.Context(), l, int64(disk))
		},
	}
	cmd.Flags().StringVar(&socket, "socket-path", "", "listen on a UNIX socket")
	cmd.Flags().Var(&disk, "size", "size of the disk")
	return cmd
}

// serveNull serves front ends until the context ends.
func serveNull(ctx context.Context, l net.Listener, bytes int64) error {
	return vhostuser.NewServer(&nullDevice{bytes: bytes}, nil, vhostuser.Options{}).Serve(ctx, l)
}

// nullDevice completes everything at once.
type nullDevice struct{ bytes int64 }

// Feature bits (virtio 1.2, section 5.2.3), and how many queues and pieces there may be.
const (
	featSegMax = uint64(1) << 2
	featFlush  = uint64(1) << 9
	featMQ     = uint64(1) << 12

	nullSegMax = 126
)

func (d *nullDevice) Features() uint64                 { return featSegMax | featFlush | featMQ }
func (d *nullDevice) SetFeatures(uint64)               {}
func (d *nullDevice) NumQueues() int                   { return maxQueues }
func (d *nullDevice) WriteConfig(uint32, []byte) error { return errors.New("nothing can be configured") }

// ReadConfig gives capacity, seg_max and the number of queues (section 5.2.4).
func (d *nullDevice) ReadConfig(p []byte, off uint32) error {
	var space [60]byte
	binary.LittleEndian.PutUint64(space[0:], uint64(d.bytes)/sectorSize)
	binary.LittleEndian.PutUint32(space[12:], nullSegMax)
	binary.LittleEndian.PutUint16(space[34:], maxQueues)
	clear(p)
	if int(off) < len(space) {
		copy(p, space[off:])
	}
	return nil
}

// Run serves a ring as package blk does: it asks for no kicks while there is work, takes what
// there is as one batch, shows it with one notification, and sleeps when the ring is empty.
func (d *nullDevice) Run(q *vhostuser.Queue) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	chains := make([]vhostuser.Chain, 1)
	for !q.Stopping() {
		n, err := completeAll(q, &chains[0])
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		more, err := q.Arm()
		if err != nil {
			return err
		}
		if !more {
			if err := sleep(q); err != nil {
				return err
			}
		}
		q.Disarm()
	}
	return nil
}

// completeAll ends the chains that wait in the ring and returns how many there were.
func completeAll(q *vhostuser.Queue, c *vhostuser.Chain) (n int, err error) {
	for ; n < q.Size(); n++ {
		ok, err := q.Next(c)
		var malformed *vhostuser.ChainError
		if err != nil && !errors.As(err, &malformed) {
			return n, err
		}
		if !ok && err == nil {
			break
		}
		q.Complete(c, answer(c))
	}
	return n, q.Publish()
}

// statusOK is the byte that ends a request (section 5.2.6).
var statusOK = []byte{0}

// answer writes the status of a chain and returns how many bytes of it count as written.
func answer(c *vhostuser.Chain) uint32 {
	if c.WriteLen == 0 {
		return 0
	}
	if _, err := c.CopyOut(statusOK, c.WriteLen-1); err != nil {
		return 0
	}
	return uint32(c.WriteLen)
}

// sleep waits for a kick or the end.
func sleep(q *vhostuser.Queue) error {
	fds := []unix.PollFd{
		{Fd: int32(q.StopFD()), Events: unix.POLLIN},
		{Fd: int32(q.KickFD()), Events: unix.POLLIN},
	}
	if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		if _, err := unix.Read(q.KickFD(), count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("kick: %w", err)
		}
	}
	return nil
}
