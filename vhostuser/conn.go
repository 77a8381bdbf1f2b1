package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// message is one request with the descriptors that came with it. It owns those; take hands
// one over, close closes what nobody took.
type message struct {
	header
	row     *row // nil for a request that is not in the table
	payload []byte
	fds     []int
}

func (m *message) name() string { return nameOf(m.request) }

func (m *message) needReply() bool { return m.flags&flagNeedReply != 0 }

func (m *message) u64() uint64 { return binary.LittleEndian.Uint64(m.payload) }

// bad names a field of this message that cannot be accepted.
func (m *message) bad(field string, value uint64, err error) error {
	return &MessageError{Message: m.row.name, Field: field, Value: value, Err: err}
}

// take hands over the i-th descriptor, -1 if there is none.
func (m *message) take(i int) int {
	if i >= len(m.fds) {
		return -1
	}
	fd := m.fds[i]
	m.fds[i] = -1
	return fd
}

func (m *message) close() {
	for i := range m.fds {
		closeFD(m.take(i))
	}
}

// reply is the answer to a request. Its descriptor is lent: the handler's caller closes it.
type reply struct {
	payload []byte
	fd      int
}

func payloadReply(p []byte) reply { return reply{payload: p, fd: -1} }

func u64Reply(v uint64) reply {
	return payloadReply(binary.LittleEndian.AppendUint64(nil, v))
}

// conn reads whole messages from a front end and writes whole replies to it. One goroutine
// uses it.
type conn struct {
	socket *net.UnixConn
	rights []byte // room for the control message of one read
	buf    []byte // payload of the message last read
	fds    []int
}

func newConn(socket *net.UnixConn) *conn {
	return &conn{
		socket: socket,
		rights: make([]byte, unix.CmsgSpace(4*maxMessageFDs)),
		buf:    make([]byte, maxPayload),
	}
}

// Errors of the framing itself: nothing that follows on the connection could be trusted.
var (
	errVersion     = errors.New("want version 1 and no reply")
	errPayload     = fmt.Errorf("payload above %d bytes", maxPayload)
	errDescriptors = fmt.Errorf("more than %d", maxMessageFDs)
)

// read returns the next message, valid until the next read, or io.EOF if the front end hung
// up between two messages. Descriptors travel with the header or with the payload (they
// arrive with the first byte of the write that sent them), so both reads collect them.
func (c *conn) read() (*message, error) {
	c.fds = nil
	m, err := c.readMessage()
	if err != nil {
		(&message{fds: c.fds}).close()
		return nil, err
	}
	return m, nil
}

func (c *conn) readMessage() (*message, error) {
	var raw [headerLen]byte
	if err := c.fill(raw[:], true); err != nil {
		return nil, err
	}
	h := decodeHeader(raw[:])
	if h.flags&flagVersionMask != flagVersion || h.flags&flagReply != 0 {
		return nil, &MessageError{nameOf(h.request), "flags", uint64(h.flags), errVersion}
	}
	if h.size > maxPayload {
		return nil, &MessageError{nameOf(h.request), "size", uint64(h.size), errPayload}
	}
	payload := c.buf[:h.size]
	if err := c.fill(payload, false); err != nil {
		return nil, err
	}
	m := &message{header: h, row: rows[h.request], payload: payload, fds: c.fds}
	if m.row != nil {
		return m, m.row.check(h, len(m.fds))
	}
	return m, nil
}

// fill reads exactly len(p) bytes and keeps the descriptors that come with them.
func (c *conn) fill(p []byte, first bool) error {
	for n := 0; n < len(p); {
		k, rights, flags, _, err := c.socket.ReadMsgUnix(p[n:], c.rights)
		if rights > 0 {
			if e := c.keep(c.rights[:rights]); e != nil {
				return e
			}
		}
		if flags&unix.MSG_CTRUNC != 0 || len(c.fds) > maxMessageFDs {
			return &MessageError{"message", "file descriptors", uint64(len(c.fds)), errDescriptors}
		}
		n += k
		switch {
		case errors.Is(err, io.EOF) && !(first && n == 0):
			return fmt.Errorf("message cut short: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
	}
	return nil
}

func (c *conn) keep(rights []byte) error {
	msgs, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials, or another kind that carries no descriptors
		}
		c.fds = append(c.fds, fds...)
	}
	return nil
}

// write sends a reply to m.
func (c *conn) write(m *message, r reply) error {
	h := header{request: m.request, flags: replyFlags, size: uint32(len(r.payload))}
	var rights []byte
	if r.fd >= 0 {
		rights = unix.UnixRights(r.fd)
	}
	_, _, err := c.socket.WriteMsgUnix(append(h.append(nil), r.payload...), rights, nil)
	return err
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // nothing depends on it: these are eventfds and memory files
	}
}
