package vhosttest

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of a front end.
const (
	GetFeatures         = 1
	SetFeatures         = 2
	SetOwner            = 3
	ResetOwner          = 4
	SetMemTable         = 5
	SetLogBase          = 6
	SetLogFD            = 7
	SetVringNum         = 8
	SetVringAddr        = 9
	SetVringBase        = 10
	GetVringBase        = 11
	SetVringKick        = 12
	SetVringCall        = 13
	SetVringErr         = 14
	GetProtocolFeatures = 15
	SetProtocolFeatures = 16
	GetQueueNum         = 17
	SetVringEnable      = 18
	SetBackendReqFD     = 21
	GetConfig           = 24
	SetConfig           = 25
	GetInflightFD       = 31
	SetInflightFD       = 32
	ResetDevice         = 34
	GetMaxMemSlots      = 36
	AddMemReg           = 37
	RemMemReg           = 38
	SetStatus           = 39
	GetStatus           = 40
)

// Header flags.
const (
	FlagVersion   = 0x1
	FlagReply     = 0x4
	FlagNeedReply = 0x8
)

// NoFD in the payload of SET_VRING_KICK, CALL or ERR says that no descriptor is sent.
const NoFD = 0x100

// Feature bits that the transport owns.
const (
	FeatureLogAll   = uint64(1) << 26
	FeatureIndirect = uint64(1) << 28
	FeatureEventIdx = uint64(1) << 29
	FeatureProtocol = uint64(1) << 30
	FeatureVersion1 = uint64(1) << 32
	FeaturePacked   = uint64(1) << 34
)

// Protocol feature bits.
const (
	ProtocolMQ         = uint64(1) << 0
	ProtocolLogShmFD   = uint64(1) << 1
	ProtocolReplyAck   = uint64(1) << 3
	ProtocolBackendReq = uint64(1) << 5
	ProtocolConfig     = uint64(1) << 9
	ProtocolInflight   = uint64(1) << 12
	ProtocolMemSlots   = uint64(1) << 15
)

const (
	headerLen   = 12
	maxReply    = 4096
	rightsSpace = 64
)

// Message is a message in either direction. A received message's FDs belong to the receiver.
type Message struct {
	Request, Flags uint32
	Payload        []byte
	FDs            []int
}

// U64 is the payload as one number, 0 if it is not one.
func (m *Message) U64() uint64 {
	if len(m.Payload) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(m.Payload)
}

// CloseFDs closes the descriptors of a received message.
func (m *Message) CloseFDs() {
	for _, fd := range m.FDs {
		_ = unix.Close(fd)
	}
	m.FDs = nil
}

// encode gives the message's bytes.
func (m *Message) encode() []byte {
	p := words(m.Request, m.Flags, uint32(len(m.Payload)))
	return append(p, m.Payload...)
}

// send writes a message, its descriptors with the header.
func send(c *net.UnixConn, m *Message, timeout time.Duration) error {
	var rights []byte
	if len(m.FDs) > 0 {
		rights = unix.UnixRights(m.FDs...)
	}
	_ = c.SetWriteDeadline(deadline(timeout))
	_, _, err := c.WriteMsgUnix(m.encode(), rights, nil)
	return err
}

// recv reads one message; timeout 0 waits for ever.
func recv(c *net.UnixConn, timeout time.Duration) (*Message, error) {
	_ = c.SetReadDeadline(deadline(timeout))
	m := &Message{}
	var raw [headerLen]byte
	if err := m.fill(c, raw[:]); err != nil {
		m.CloseFDs()
		return nil, err
	}
	m.Request = binary.LittleEndian.Uint32(raw[:])
	m.Flags = binary.LittleEndian.Uint32(raw[4:])
	size := binary.LittleEndian.Uint32(raw[8:])
	if size > maxReply {
		m.CloseFDs()
		return nil, fmt.Errorf("vhosttest: reply to request %d has %d bytes", m.Request, size)
	}
	m.Payload = make([]byte, size)
	if err := m.fill(c, m.Payload); err != nil {
		m.CloseFDs()
		return nil, err
	}
	return m, nil
}

func (m *Message) fill(c *net.UnixConn, p []byte) error {
	oob := make([]byte, rightsSpace)
	for n := 0; n < len(p); {
		k, rights, _, _, err := c.ReadMsgUnix(p[n:], oob)
		if msgs, e := unix.ParseSocketControlMessage(oob[:rights]); e == nil {
			for i := range msgs {
				if fds, e := unix.ParseUnixRights(&msgs[i]); e == nil {
					m.FDs = append(m.FDs, fds...)
				}
			}
		}
		if err != nil {
			return err
		}
		n += k
	}
	return nil
}

func deadline(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// words lays 32-bit numbers one after another; quads does so with 64-bit ones.
func words(vs ...uint32) []byte {
	var p []byte
	for _, v := range vs {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	return p
}

func quads(vs ...uint64) []byte {
	var p []byte
	for _, v := range vs {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	return p
}
