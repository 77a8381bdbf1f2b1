package vhostuser

import (
	"encoding/binary"
	"fmt"
)

// Header flags. A request carries the version, perhaps with needReply; a reply carries
// exactly replyFlags, which QEMU compares as a whole.
const (
	flagVersion     = uint32(0x1)
	flagVersionMask = uint32(0x3)
	flagReply       = uint32(0x4)
	flagNeedReply   = uint32(0x8)
	replyFlags      = flagVersion | flagReply
)

// Limits on what a front end may send; every length is compared before it is used.
const (
	headerLen      = 12   // request, flags, payload size: three 32-bit words
	maxPayload     = 4096 // no known message needs more than maxConfigLen + configHeaderLen
	maxMessageFDs  = 8    // SET_MEM_TABLE carries one per region
	maxTableRegion = 8    // regions in one SET_MEM_TABLE
	maxConfigLen   = 256  // VHOST_USER_MAX_CONFIG_SIZE
	maxQueues      = 256  // queues of a device, as a SET_VRING_KICK payload can name them
	maxRingSize    = 32768
)

// request is the number that names a message.
type request uint32

// The messages of a front end (vhost-user specification, "Front-end message types").
const (
	reqGetFeatures         request = 1
	reqSetFeatures         request = 2
	reqSetOwner            request = 3
	reqResetOwner          request = 4
	reqSetMemTable         request = 5
	reqSetLogBase          request = 6
	reqSetLogFD            request = 7
	reqSetVringNum         request = 8
	reqSetVringAddr        request = 9
	reqSetVringBase        request = 10
	reqGetVringBase        request = 11
	reqSetVringKick        request = 12
	reqSetVringCall        request = 13
	reqSetVringErr         request = 14
	reqGetProtocolFeatures request = 15
	reqSetProtocolFeatures request = 16
	reqGetQueueNum         request = 17
	reqSetVringEnable      request = 18
	reqSetBackendReqFD     request = 21
	reqGetConfig           request = 24
	reqSetConfig           request = 25
	reqGetInflightFD       request = 31
	reqSetInflightFD       request = 32
	reqResetDevice         request = 34
	reqGetMaxMemSlots      request = 36
	reqAddMemReg           request = 37
	reqRemMemReg           request = 38
	reqSetStatus           request = 39
	reqGetStatus           request = 40
)

// backendConfigChange is the one message that this end sends on the backend channel.
const backendConfigChange request = 2

// header precedes every message in both directions.
type header struct {
	request request
	flags   uint32
	size    uint32
}

func (h header) append(p []byte) []byte {
	p = binary.LittleEndian.AppendUint32(p, uint32(h.request))
	p = binary.LittleEndian.AppendUint32(p, h.flags)
	return binary.LittleEndian.AppendUint32(p, h.size)
}

func decodeHeader(p []byte) header {
	return header{
		request: request(binary.LittleEndian.Uint32(p)),
		flags:   binary.LittleEndian.Uint32(p[4:]),
		size:    binary.LittleEndian.Uint32(p[8:]),
	}
}

// refusal says what becomes of a well-formed message that cannot be obeyed.
type refusal uint8

const (
	// The zero refusal closes the connection. It is the rule wherever a refusal in an
	// acknowledgement would be worse: QEMU aborts when switching the dirty log on is refused.
	_ refusal = iota
	// refusalAnswers puts the refusal into the acknowledgement where one was asked for and
	// closes the connection otherwise, because the front end would go on in error.
	refusalAnswers
	// refusalGoesOn is for messages whose failure harms nobody.
	refusalGoesOn
)

// row describes one request: what it is called, what it carries and who handles it. Exactly
// one of answer and handle is set.
type row struct {
	name             string
	minSize, maxSize uint32
	minFDs, maxFDs   int
	refusal          refusal

	// answer handles a request that always has a reply of its own.
	answer func(*session, *message) (reply, error)
	// handle handles a request that is acknowledged only where the front end asks for it: an
	// answer that was not asked for would be taken as the answer to the next request.
	handle func(*session, *message) error
}

// rows is the table of all requests that have a handler. A request that is not in it is
// refused if it wants an acknowledgement and is ignored if not.
var rows = map[request]*row{
	reqGetFeatures:         {name: "GET_FEATURES", answer: (*session).getFeatures},
	reqSetFeatures:         u64Row("SET_FEATURES", (*session).setFeatures),
	reqSetOwner:            {name: "SET_OWNER", handle: (*session).setOwner},
	reqResetOwner:          {name: "RESET_OWNER", handle: (*session).ignore},
	reqGetProtocolFeatures: {name: "GET_PROTOCOL_FEATURES", answer: (*session).getProtocolFeatures},
	reqSetProtocolFeatures: u64Row("SET_PROTOCOL_FEATURES", (*session).setProtocolFeatures),
	reqGetQueueNum:         {name: "GET_QUEUE_NUM", answer: (*session).getQueueNum},
	reqGetMaxMemSlots:      {name: "GET_MAX_MEM_SLOTS", answer: (*session).getMaxMemSlots},

	reqSetMemTable: {
		name: "SET_MEM_TABLE", minSize: tableHeaderLen, maxSize: maxPayload, maxFDs: maxMessageFDs,
		refusal: refusalAnswers, handle: (*session).setMemTable,
	},
	reqAddMemReg: {
		name: "ADD_MEM_REG", minSize: slotLen, maxSize: slotLen, minFDs: 1, maxFDs: 1,
		refusal: refusalAnswers, handle: (*session).addMemReg,
	},
	// An older front end sends the region's descriptor with its removal: closed unread.
	reqRemMemReg: {
		name: "REM_MEM_REG", minSize: slotLen, maxSize: slotLen, maxFDs: 1,
		refusal: refusalAnswers, handle: (*session).remMemReg,
	},

	// SET_LOG_BASE is answered always: QEMU waits for it without NEED_REPLY.
	reqSetLogBase: {
		name: "SET_LOG_BASE", minSize: logBaseLen, maxSize: logBaseLen, minFDs: 1, maxFDs: 1,
		answer: (*session).setLogBase,
	},
	reqSetLogFD: {name: "SET_LOG_FD", maxSize: u64Len, maxFDs: 1, handle: (*session).ignore},

	reqSetVringNum:  stateRow("SET_VRING_NUM", (*session).setVringNum),
	reqSetVringBase: stateRow("SET_VRING_BASE", (*session).setVringBase),
	reqSetVringAddr: {
		name: "SET_VRING_ADDR", minSize: vringAddrLen, maxSize: vringAddrLen,
		handle: (*session).setVringAddr,
	},
	reqGetVringBase: {
		name: "GET_VRING_BASE", minSize: vringStateLen, maxSize: vringStateLen,
		answer: (*session).getVringBase,
	},
	reqSetVringKick:   vringFDRow("SET_VRING_KICK", (*session).setVringKick),
	reqSetVringCall:   vringFDRow("SET_VRING_CALL", (*session).setVringCall),
	reqSetVringErr:    vringFDRow("SET_VRING_ERR", (*session).setVringErr),
	reqSetVringEnable: stateRow("SET_VRING_ENABLE", (*session).setVringEnable),

	reqSetBackendReqFD: {
		name: "SET_BACKEND_REQ_FD", maxSize: u64Len, minFDs: 1, maxFDs: 1,
		handle: (*session).setBackendReqFD,
	},
	reqGetConfig: {
		name: "GET_CONFIG", minSize: configHeaderLen, maxSize: configHeaderLen + maxConfigLen,
		answer: (*session).getConfig,
	},
	reqSetConfig: {
		name: "SET_CONFIG", minSize: configHeaderLen, maxSize: configHeaderLen + maxConfigLen,
		refusal: refusalGoesOn, handle: (*session).setConfig,
	},
	reqGetInflightFD: {
		name: "GET_INFLIGHT_FD", minSize: inflightLen, maxSize: inflightPaddedLen,
		answer: (*session).getInflightFD,
	},
	reqSetInflightFD: {
		name: "SET_INFLIGHT_FD", minSize: inflightLen, maxSize: inflightPaddedLen, maxFDs: 1,
		handle: (*session).setInflightFD,
	},

	// Not offered, but a front end that has them anyway must not hang in a read.
	reqResetDevice: {name: "RESET_DEVICE", handle: (*session).ignore},
	reqSetStatus:   u64Row("SET_STATUS", (*session).ignore),
	reqGetStatus:   {name: "GET_STATUS", answer: (*session).getStatus},
}

func u64Row(name string, h func(*session, *message) error) *row {
	return &row{name: name, minSize: u64Len, maxSize: u64Len, handle: h}
}

func stateRow(name string, h func(*session, *message) error) *row {
	return &row{name: name, minSize: vringStateLen, maxSize: vringStateLen, handle: h}
}

func vringFDRow(name string, h func(*session, *message) error) *row {
	return &row{name: name, minSize: u64Len, maxSize: u64Len, maxFDs: 1, handle: h}
}

// check compares a message with its row.
func (r *row) check(h header, fds int) error {
	if h.size < r.minSize || h.size > r.maxSize {
		return &MessageError{Message: r.name, Field: "size", Value: uint64(h.size),
			Err: fmt.Errorf("want %d to %d bytes", r.minSize, r.maxSize)}
	}
	if fds < r.minFDs || fds > r.maxFDs {
		return &MessageError{Message: r.name, Field: "file descriptors", Value: uint64(fds),
			Err: fmt.Errorf("want %d to %d", r.minFDs, r.maxFDs)}
	}
	return nil
}

// nameOf gives a request's name, or its number where it has none here.
func nameOf(r request) string {
	if row := rows[r]; row != nil {
		return row.name
	}
	return fmt.Sprintf("request %d", uint32(r))
}

// MessageError says which field of which message could not be accepted, and its value.
type MessageError struct {
	Message string // as the specification names it
	Field   string
	Value   uint64
	Err     error // why
}

func (e *MessageError) Error() string {
	return fmt.Sprintf("%s: %s %#x: %v", e.Message, e.Field, e.Value, e.Err)
}

func (e *MessageError) Unwrap() error { return e.Err }
