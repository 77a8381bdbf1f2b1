package vhosttest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// inflight is the region that the back end made and the front end keeps for it.
type inflight struct {
	fd           int
	size, offset uint64
	bytes        []byte
}

// prepareInflight asks for a region if there is none, and hands the region over.
func (f *FrontEnd) prepareInflight() error {
	if !f.o.Inflight || f.protocol&ProtocolInflight == 0 {
		return nil
	}
	if f.inflight == nil {
		if err := f.getInflight(); err != nil {
			return err
		}
	}
	return f.SendInflight()
}

func (f *FrontEnd) getInflight() error {
	m, err := f.Ask(GetInflightFD, f.inflightPayload(0, 0))
	if err != nil {
		return err
	}
	size, offset, err := inflightReply(m)
	if err != nil || size == 0 {
		m.CloseFDs()
		return err
	}
	bytes, err := mapFD(m.FDs[0], int64(size+offset))
	if err != nil {
		m.CloseFDs()
		return err
	}
	f.inflight = &inflight{fd: m.FDs[0], size: size, offset: offset, bytes: bytes}
	return nil
}

func inflightReply(m *Message) (size, offset uint64, err error) {
	if len(m.Payload) != 24 {
		return 0, 0, fmt.Errorf("vhosttest: GET_INFLIGHT_FD answered with %d bytes", len(m.Payload))
	}
	size = (&Message{Payload: m.Payload[:8]}).U64()
	offset = (&Message{Payload: m.Payload[8:16]}).U64()
	if size != 0 && len(m.FDs) != 1 {
		return 0, 0, fmt.Errorf("vhosttest: GET_INFLIGHT_FD answered with %d descriptors", len(m.FDs))
	}
	return size, offset, nil
}

// inflightPayload has 24 bytes: QEMU's structure is padded.
func (f *FrontEnd) inflightPayload(size, offset uint64) []byte {
	tail := uint64(f.o.Queues) | uint64(f.o.QueueSize)<<16
	return quads(size, offset, tail)
}

// SendInflight sends SET_INFLIGHT_FD, if there is a region.
func (f *FrontEnd) SendInflight() error {
	if f.inflight == nil {
		return nil
	}
	return f.Tell(SetInflightFD, f.inflightPayload(f.inflight.size, f.inflight.offset), f.inflight.fd)
}

// Inflight is the inflight region's content, nil if there is none.
func (f *FrontEnd) Inflight() []byte {
	if f.inflight == nil {
		return nil
	}
	return f.inflight.bytes[f.inflight.offset:]
}

func (f *FrontEnd) dropInflight() {
	if f.inflight == nil {
		return
	}
	_ = unix.Munmap(f.inflight.bytes)
	_ = unix.Close(f.inflight.fd)
	f.inflight = nil
}
