package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"github.com/belay-vm/belay/internal/size"
	"github.com/belay-vm/belay/vhostuser"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func nullVerb(stdout io.Writer) *cobra.Command {
	var socket string
	var pollUs int
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
			return serveNull(cmd.Context(), l, &nullDevice{int64(disk), time.Duration(pollUs) * time.Microsecond})
		},
	}
	cmd.Flags().StringVar(&socket, "socket-path", "", "listen on a UNIX socket")
	cmd.Flags().Var(&disk, "size", "size of the disk")
	cmd.Flags().IntVar(&pollUs, "poll-us", 0, "microseconds to look for new requests before sleeping")
	return cmd
}

// serveNull serves front ends until the context ends.
func serveNull(ctx context.Context, l net.Listener, d *nullDevice) error {
	return vhostuser.NewServer(d, nil, vhostuser.Options{}).Serve(ctx, l)
}

// nullDevice completes everything at once.
type nullDevice struct {
	bytes int64
	spin  time.Duration // how long an idle queue looks at its ring before it sleeps
}

// Feature bits (virtio 1.2, section 5.2.3), and how many queues and pieces there may be.
const (
	featSegMax = uint64(1) << 2
	featFlush  = uint64(1) << 9
	featMQ     = uint64(1) << 12

	nullSegMax = 126
)

func (d *nullDevice) Features() uint64   { return featSegMax | featFlush | featMQ }
func (d *nullDevice) SetFeatures(uint64) {}
func (d *nullDevice) NumQueues() int     { return maxQueues }
func (d *nullDevice) WriteConfig(uint32, []byte) error {
	return errors.New("nothing can be configured")
}

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
	var chain vhostuser.Chain
	for busy := time.Now(); !q.Stopping(); {
		n, err := completeAll(q, &chain)
		if err != nil {
			return err
		}
		if n > 0 {
			busy = time.Time{}
			continue
		}
		if d.spinning(&busy) {
			continue
		}
		if err := rest(q); err != nil {
			return err
		}
	}
	return nil
}

// spinning reports whether to look at the ring again. busy is when the queue was found idle, zero
// if it was not since.
func (d *nullDevice) spinning(busy *time.Time) bool {
	if d.spin == 0 {
		return false
	}
	if busy.IsZero() {
		*busy = time.Now()
	}
	return time.Since(*busy) < d.spin
}

// rest sleeps until there is something to do.
func rest(q *vhostuser.Queue) error {
	more, err := q.Arm()
	if err == nil && !more {
		err = sleep(q)
	}
	q.Disarm()
	return err
}

// completeAll ends the chains that wait in the ring and returns how many there were.
func completeAll(q *vhostuser.Queue, c *vhostuser.Chain) (n int, err error) {
	for ; n < q.Size(); n++ {
		ok, err := q.Next(c)
		if err != nil && !malformed(err) {
			return n, err
		}
		if !ok && err == nil {
			break
		}
		q.Complete(c, answer(c))
	}
	return n, q.Publish()
}

// malformed reports whether an error concerns one chain only.
func malformed(err error) bool {
	var chain *vhostuser.ChainError
	return errors.As(err, &chain)
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
