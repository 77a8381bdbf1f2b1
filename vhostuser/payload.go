package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the payloads, as the specification's structures give them.
const (
	u64Len            = 8
	vringStateLen     = 8
	vringAddrLen      = 40
	regionLen         = 32
	tableHeaderLen    = 8
	slotLen           = 8 + regionLen
	logBaseLen        = 16
	configHeaderLen   = 12
	inflightLen       = 20
	inflightPaddedLen = 24 // what a C compiler makes of it, and what QEMU sends and expects
)

// vringNoFD in the payload of SET_VRING_KICK, CALL and ERR says that no descriptor comes
// with it: poll, or do not notify.
const vringNoFD = uint64(1) << 8

// vringState is a queue index and a number.
type vringState struct {
	index, num uint32
}

func decodeVringState(p []byte) vringState {
	return vringState{binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])}
}

func (v vringState) append(p []byte) []byte {
	p = binary.LittleEndian.AppendUint32(p, v.index)
	return binary.LittleEndian.AppendUint32(p, v.num)
}

// vringAddr gives the parts of a ring by the front end's own virtual addresses; log is the
// guest address at which writes to the used part are marked dirty.
type vringAddr struct {
	index, flags           uint32
	desc, used, avail, log uint64
}

// vringLogged in vringAddr.flags asks for marking the used part's pages (VHOST_VRING_F_LOG).
const vringLogged = uint32(1)

func decodeVringAddr(p []byte) vringAddr {
	le := binary.LittleEndian
	return vringAddr{
		index: le.Uint32(p), flags: le.Uint32(p[4:]),
		desc: le.Uint64(p[8:]), used: le.Uint64(p[16:]), avail: le.Uint64(p[24:]), log: le.Uint64(p[32:]),
	}
}

func (v vringAddr) append(p []byte) []byte {
	le := binary.LittleEndian
	p = le.AppendUint32(p, v.index)
	p = le.AppendUint32(p, v.flags)
	p = le.AppendUint64(p, v.desc)
	p = le.AppendUint64(p, v.used)
	p = le.AppendUint64(p, v.avail)
	return le.AppendUint64(p, v.log)
}

func decodeRegion(p []byte) memRegion {
	le := binary.LittleEndian
	return memRegion{
		guestAddr: le.Uint64(p), size: le.Uint64(p[8:]),
		userAddr: le.Uint64(p[16:]), mmapOffset: le.Uint64(p[24:]),
	}
}

func (r memRegion) append(p []byte) []byte {
	le := binary.LittleEndian
	p = le.AppendUint64(p, r.guestAddr)
	p = le.AppendUint64(p, r.size)
	p = le.AppendUint64(p, r.userAddr)
	return le.AppendUint64(p, r.mmapOffset)
}

// decodeTable reads the regions of a SET_MEM_TABLE, of which there may be maxTableRegion.
func decodeTable(p []byte) ([]memRegion, error) {
	n := binary.LittleEndian.Uint32(p)
	if n > maxTableRegion || tableHeaderLen+int(n)*regionLen > len(p) {
		return nil, &MessageError{Message: "SET_MEM_TABLE", Field: "number of regions", Value: uint64(n),
			Err: fmt.Errorf("at most %d, and no more than %d payload bytes hold", maxTableRegion, len(p))}
	}
	rs := make([]memRegion, n)
	for i := range rs {
		rs[i] = decodeRegion(p[tableHeaderLen+i*regionLen:])
	}
	return rs, nil
}

func appendTable(p []byte, rs []memRegion) []byte {
	p = binary.LittleEndian.AppendUint64(p, uint64(len(rs)))
	for _, r := range rs {
		p = r.append(p)
	}
	return p
}

// logBase is where in its file the dirty bitmap lies.
type logBase struct {
	size, offset uint64
}

func decodeLogBase(p []byte) logBase {
	return logBase{binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])}
}

func (l logBase) append(p []byte) []byte {
	p = binary.LittleEndian.AppendUint64(p, l.size)
	return binary.LittleEndian.AppendUint64(p, l.offset)
}

// inflightDesc describes the inflight region. A padded payload is answered padded.
type inflightDesc struct {
	size, offset      uint64
	queues, queueSize uint16
}

func decodeInflight(p []byte) inflightDesc {
	le := binary.LittleEndian
	return inflightDesc{le.Uint64(p), le.Uint64(p[8:]), le.Uint16(p[16:]), le.Uint16(p[18:])}
}

func (d inflightDesc) append(p []byte, length int) []byte {
	le := binary.LittleEndian
	start := len(p)
	p = le.AppendUint64(p, d.size)
	p = le.AppendUint64(p, d.offset)
	p = le.AppendUint16(p, d.queues)
	p = le.AppendUint16(p, d.queueSize)
	for len(p) < start+length {
		p = append(p, 0)
	}
	return p
}

// configRange is the piece of the config space that GET_CONFIG and SET_CONFIG speak of.
type configRange struct {
	offset, size, flags uint32
}

func decodeConfigRange(p []byte) configRange {
	le := binary.LittleEndian
	return configRange{le.Uint32(p), le.Uint32(p[4:]), le.Uint32(p[8:])}
}

func (c configRange) append(p []byte) []byte {
	le := binary.LittleEndian
	p = le.AppendUint32(p, c.offset)
	p = le.AppendUint32(p, c.size)
	return le.AppendUint32(p, c.flags)
}

var errConfigRange = errors.New("config space has 256 bytes")

// check holds the range against the largest config space.
func (c configRange) check(message string) error {
	if c.size > maxConfigLen {
		return &MessageError{message, "size", uint64(c.size), errConfigRange}
	}
	if c.offset > maxConfigLen-c.size {
		return &MessageError{message, "offset", uint64(c.offset), errConfigRange}
	}
	return nil
}
