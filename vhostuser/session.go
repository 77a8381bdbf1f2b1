package vhostuser

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/go-hclog"
)

// session is one front end's connection: what was negotiated on it, the memory it lent and
// its rings. Everything but the channel belongs to the goroutine that runs it, which handles
// one message after the other; a GET_VRING_BASE or GET_FEATURES is thereby the barrier that
// front ends take it for.
//
// Nothing is assumed of the order of messages. QEMU runs its whole init again on the same
// connection after a device_del, and after a backend's death in a paused machine it begins a
// connection with SET_FEATURES and no init at all. So no message is refused because of a
// feature that was not acknowledged on this connection.
type session struct {
	server *Server
	dev    Device
	log    hclog.Logger
	conn   *conn
	rings  []*ring

	features uint64 // acknowledged, of those offered
	device   uint64 // those of them that the device was told last
	mem      *memTable
	dirty    *dirtyLog // the bitmap sent last, kept until the next one comes
	inflight *inflight // the region sent last, for the next start of a ring
	retired  []*inflight
	stopped  bool // between the first GET_VRING_BASE of a stop and the next start, for a Stopper
	channel  channel
}

func newSession(s *Server, c *conn, queues int) *session {
	ss := &session{server: s, dev: s.dev, log: s.log, conn: c, channel: channel{fd: -1}}
	for i := range queues {
		ss.rings = append(ss.rings, &ring{
			index: i, dev: s.dev, log: s.log, count: &s.count, call: -1, err: -1,
		})
	}
	return ss
}

// run handles messages until the front end hangs up, which is no error, or misbehaves.
func (s *session) run() error {
	for {
		m, err := s.conn.read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.server.count.messages.Add(1)
		err = s.handle(m)
		m.close()
		if err != nil {
			return err
		}
	}
}

// close drains all rings into the memory they know, then gives that memory back. Entries in
// the inflight region stay: what was completed is no longer in it.
func (s *session) close() {
	s.haltAll()
	s.halting()
	for _, r := range s.rings {
		s.dismantle(r, false)
		closeFD(r.call)
		closeFD(r.err)
	}
	s.mem.release(nil)
	if s.dirty != nil {
		s.dirty.close()
	}
	s.setRegion(nil)
	s.channel.replace(-1)
}

// handle obeys one message and answers it as its row demands.
func (s *session) handle(m *message) error {
	if m.row == nil {
		return s.unknown(m)
	}
	if m.row.answer != nil {
		r, err := m.row.answer(s, m)
		if err != nil {
			return err
		}
		defer closeFD(r.fd)
		return s.conn.write(m, r)
	}
	err := m.row.handle(s, m)
	if err != nil && !s.refuse(m, err) {
		return err
	}
	return s.acknowledge(m, err)
}

// unknown treats a request that is not in the table. Without NEED_REPLY there is nobody to
// tell, and hanging up would do a paused QEMU more harm than the message can.
func (s *session) unknown(m *message) error {
	err := fmt.Errorf("%s: unknown", m.name())
	s.server.count.refused.Add(1)
	s.log.Debug("message ignored", "error", err)
	return s.acknowledge(m, err)
}

// refuse says whether the session goes on after a message that could not be obeyed.
func (s *session) refuse(m *message, err error) bool {
	goesOn := m.row.refusal == refusalGoesOn || m.row.refusal == refusalAnswers && m.needReply()
	if goesOn {
		s.server.count.refused.Add(1)
		s.log.Warn("message refused", "error", err)
	}
	return goesOn
}

// acknowledge answers a message that asks for it: 0, or 1 if it was refused.
func (s *session) acknowledge(m *message, err error) error {
	if !m.needReply() {
		return nil
	}
	v := uint64(0)
	if err != nil {
		v = 1
	}
	return s.conn.write(m, u64Reply(v))
}

// ignore is the handler of messages that need no more than an acknowledgement.
func (s *session) ignore(*message) error { return nil }

func (s *session) offered() uint64 { return s.dev.Features() | transportFeatures }

func (s *session) getFeatures(*message) (reply, error) { return u64Reply(s.offered()), nil }

func (s *session) getStatus(*message) (reply, error) { return u64Reply(0), nil }

func (s *session) getProtocolFeatures(*message) (reply, error) {
	bits := offeredProtocol
	if s.server.opts.MemSlots {
		bits |= protocolMemSlots
	}
	return u64Reply(bits), nil
}

// setProtocolFeatures matters only for what this end says unasked: every message is handled
// whether its feature was acknowledged or not.
func (s *session) setProtocolFeatures(m *message) error {
	s.channel.allow(m.u64()&protocolConfig != 0)
	return nil
}

func (s *session) getQueueNum(*message) (reply, error) {
	return u64Reply(uint64(len(s.rings))), nil
}

func (s *session) getMaxMemSlots(*message) (reply, error) { return u64Reply(maxMemSlots), nil }

// setOwner begins an init. A device that was unplugged leaves its memory and its inflight
// region behind, and the one plugged in its place sends all of its own: the old ones go,
// unless rings still use them.
func (s *session) setOwner(*message) error {
	for _, r := range s.rings {
		if r.q != nil {
			return nil
		}
	}
	s.mem.release(nil)
	s.mem = nil
	s.setRegion(nil)
	return nil
}

// setFeatures takes the bits that were offered and ignores others, which come from QEMU and
// not from here. A started ring keeps the features it was started with; only dirty logging
// is switched under it.
func (s *session) setFeatures(m *message) error {
	s.features = m.u64() & s.offered()
	if device := s.features & s.dev.Features(); device != s.device || !s.anyServed() {
		s.paused(s.rings, func() {
			s.device = device
			s.dev.SetFeatures(s.features)
		})
	}
	s.relog()
	return nil
}

func (s *session) anyServed() bool {
	for _, r := range s.rings {
		if r.q != nil && r.enabled {
			return true
		}
	}
	return false
}

// paused runs change while none of the rings is served: their requests are finished and
// published, and they go on afterwards where they stood.
func (s *session) paused(rings []*ring, change func()) {
	for _, r := range rings {
		r.halt()
	}
	s.halting()
	for _, r := range rings {
		r.wait()
	}
	change()
	if s.stopped {
		return
	}
	for _, r := range rings {
		r.resume()
	}
}

func (s *session) haltAll() {
	for _, r := range s.rings {
		r.halt()
	}
}

// setBackendReqFD takes the backend channel of this init; the last one's is closed.
func (s *session) setBackendReqFD(m *message) error {
	s.channel.replace(m.take(0))
	return nil
}

// getConfig answers with exactly the bytes that were asked for and remembers them. An answer
// without payload is how the specification reports a failure.
func (s *session) getConfig(m *message) (reply, error) {
	c := decodeConfigRange(m.payload)
	err := c.check(m.row.name)
	var data []byte
	if err == nil {
		data = make([]byte, c.size)
		err = s.dev.ReadConfig(data, c.offset)
	}
	if err != nil {
		s.server.count.refused.Add(1)
		s.log.Warn("config space cannot be read", "error", err)
		return payloadReply(nil), nil
	}
	p := c.append(nil)
	s.server.seen.note(c.offset, data)
	return payloadReply(append(p, data...)), nil
}

var errConfigShort = errors.New("payload holds fewer bytes")

func (s *session) setConfig(m *message) error {
	c := decodeConfigRange(m.payload)
	if err := c.check(m.row.name); err != nil {
		return err
	}
	data := m.payload[configHeaderLen:]
	if int(c.size) > len(data) {
		return m.bad("size", uint64(c.size), errConfigShort)
	}
	if err := s.dev.WriteConfig(c.offset, data[:c.size]); err != nil {
		return m.bad("offset", uint64(c.offset), err)
	}
	return nil
}

// announceConfig sends CONFIG_CHANGE_MSG. Any goroutine may call it.
func (s *session) announceConfig() {
	if err := s.channel.announce(); err != nil {
		s.log.Debug("config change not announced", "error", err)
	}
}
