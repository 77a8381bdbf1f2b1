package mirror

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn moves frames over a connection. One goroutine reads; any may write, one at a time.
type conn struct {
	net     net.Conn
	socket  syscall.RawConn // of plain TCP; otherwise nil
	timeout time.Duration   // for a read or a write to make progress
	done    <-chan struct{}
	cause   func() error // why done is closed

	r       *bufio.Reader // the reading goroutine's, as all that follows
	raw     [headerLen]byte
	meta    []byte
	readSeq uint32

	turn       chan struct{} // holds one token: who has it may write
	generation uint64        // of frames written; set before the session begins
	writeSeq   uint32        // with the token
	head       []byte        // with the token: header and meta of the frame being written
	spoke      atomic.Bool   // something was written since the watch looked

	pipesMu   sync.Mutex // guards what follows
	pipes     []*pipe    // that are empty
	pipesOver bool       // no more are kept

	noPipes atomic.Bool // the kernel carries nothing here
}

const readAhead = 64 << 10

func newConn(c net.Conn, timeout time.Duration, done <-chan struct{}) *conn {
	turn := make(chan struct{}, 1)
	turn <- struct{}{}
	var socket syscall.RawConn
	if tcp, ok := c.(*net.TCPConn); ok {
		socket, _ = tcp.SyscallConn() // without it, the kernel carries nothing
	}
	return &conn{
		net: c, socket: socket, timeout: timeout, done: done,
		r:    bufio.NewReaderSize(c, readAhead),
		meta: make([]byte, maxMeta),
		turn: turn,
		head: make([]byte, 0, headerLen+maxMeta),
	}
}

// frame is what was read. Its content, if there is any, belongs to the reader.
type frame struct {
	header
	body body
	bulk *buffer
}

// read returns the next frame, whose generation and sequence number are left to the caller.
// Content is read, but not yet compared with its checksums: that is done where it is used.
func (c *conn) read() (frame, error) {
	if err := c.fill(c.raw[:]); err != nil {
		return frame{}, err
	}
	h, err := decodeHeader(c.raw[:])
	if err != nil {
		return frame{}, err
	}
	meta := c.meta[:h.meta]
	if err := c.fill(meta); err != nil {
		return frame{}, cutAt(1, err)
	}
	if got := frameSum(c.raw[:], meta); got != le.Uint32(c.raw[28:]) {
		return frame{}, &FrameError{h.kind, "", 0, ErrChecksum}
	}
	if h.seq != c.readSeq {
		return frame{}, &FrameError{h.kind, "number", uint64(h.seq), ErrSequence}
	}
	c.readSeq++
	f := frame{header: h}
	if f.body, err = decodeBody(h, meta); err != nil {
		return frame{}, err
	}
	if h.bulk > 0 {
		f.bulk = getBuffer(int(h.bulk))
		if err := c.fill(f.bulk.p); err != nil {
			f.bulk.free()
			return frame{}, cutAt(1, err)
		}
	}
	return f, nil
}

// fill reads len(p) bytes. The peer has the time-out for each part that arrives.
func (c *conn) fill(p []byte) error {
	for n := 0; n < len(p); {
		if c.r.Buffered() == 0 {
			if err := c.net.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
				return cutAt(n, err)
			}
		}
		m, err := c.r.Read(p[n:])
		if n += m; n == len(p) {
			return nil
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ErrSilent
		case err != nil:
			return cutAt(n, err)
		}
	}
	return nil
}

// cutAt is the error of a connection that ended after n bytes of something.
func cutAt(n int, err error) error {
	if err == io.EOF && n > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// write sends a frame without content.
func (c *conn) write(kind Kind, disk int, b body) error {
	return c.locked(func() error {
		c.begin(kind, disk, b, 0)
		return c.send(c.head)
	})
}

// locked runs write when it is this goroutine's turn.
func (c *conn) locked(write func() error) error {
	select {
	case <-c.turn:
	case <-c.done:
		return c.cause()
	}
	defer func() { c.turn <- struct{}{} }()
	return write()
}

// begin puts header and meta data of the next frame into c.head.
func (c *conn) begin(kind Kind, disk int, b body, bulk int64) header {
	c.head = b.encode(c.head[:headerLen])
	meta := c.head[headerLen:]
	h := header{
		kind: kind, disk: uint16(disk), meta: uint32(len(meta)), bulk: uint32(bulk),
		generation: c.generation, seq: c.writeSeq,
	}
	invariant(h.check(0) == nil, "a frame that its reader would refuse")
	h.encode(c.head, meta)
	c.writeSeq++
	return h
}

// send writes all parts with one system call where the connection can.
func (c *conn) send(parts ...[]byte) error {
	if err := c.deadline(); err != nil {
		return err
	}
	buffers := net.Buffers(parts)
	_, err := buffers.WriteTo(c.net)
	return writeError(err)
}

// deadline gives a write the time-out, and notes that the peer hears of us.
func (c *conn) deadline() error {
	c.spoke.Store(true)
	return c.net.SetWriteDeadline(time.Now().Add(c.timeout))
}

func writeError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrSlow
	}
	return err
}

// invariant is for what no peer, guest or disk can cause.
func invariant(ok bool, what string) {
	if !ok {
		panic("mirror: " + what)
	}
}
