package vhosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what the front end has and negotiates. Zero values mean the defaults.
type Options struct {
	Packed    bool // packed rings, if the back end offers them
	EventIdx  bool
	Indirect  bool
	Queues    int   // default 1
	QueueSize int   // default 128
	TableLen  int   // descriptors in an indirect table; default 256, in large rings 16
	MemBytes  int64 // default 64 MiB
	Regions   int   // regions that the memory is told in; default 1
	MemSlots  bool  // ADD_MEM_REG instead of SET_MEM_TABLE, if offered
	Inflight  bool  // keep an inflight region, if offered

	// Memory is used instead of new memory; the front end then does not close it.
	Memory *Memory
	// Decline are feature bits of the device not to acknowledge.
	Decline uint64
	// Timeout bounds every wait for the back end; default 10 s.
	Timeout time.Duration
	// Bare leaves out the negotiation: the connection is open and nothing was said.
	Bare bool
}

func (o Options) withDefaults() Options {
	if o.Queues == 0 {
		o.Queues = 1
	}
	if o.QueueSize == 0 {
		o.QueueSize = 128
	}
	if o.MemBytes == 0 {
		o.MemBytes = 64 << 20
	}
	if o.Regions == 0 {
		o.Regions = 1
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	return o
}

// wanted are the transport's feature bits that the options ask for.
func (o Options) wanted() uint64 {
	bits := FeatureVersion1 | FeatureProtocol
	if o.Packed {
		bits |= FeaturePacked
	}
	if o.EventIdx {
		bits |= FeatureEventIdx
	}
	if o.Indirect {
		bits |= FeatureIndirect
	}
	return bits
}

const transportBits = FeatureVersion1 | FeatureProtocol | FeaturePacked | FeatureEventIdx |
	FeatureIndirect | FeatureLogAll

const wantedProtocol = ProtocolMQ | ProtocolLogShmFD | ProtocolReplyAck | ProtocolBackendReq |
	ProtocolConfig

// ErrRefused reports a reply to NEED_REPLY that is not 0.
var ErrRefused = errors.New("vhosttest: the back end refused")

// FrontEnd is one virtual machine's end of a vhost-user connection.
type FrontEnd struct {
	o    Options
	conn *net.UnixConn
	mem  *Memory

	offered  uint64        // virtio features
	acked    atomic.Uint64 // of them, in use; drivers read it while the log is switched
	protocol uint64        // protocol features acknowledged
	maxSlots uint64
	told     []Region // regions the back end knows through ADD_MEM_REG

	channel  *net.UnixConn // our end of the backend channel
	inflight *inflight
	log      *bitmap
	drivers  []*Driver
}

// Connect dials a back end's socket, makes guest memory and negotiates.
func Connect(path string, o Options) (*FrontEnd, error) {
	c, err := dial(path)
	if err != nil {
		return nil, err
	}
	return NewConn(c, o)
}

func dial(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// NewConn is Connect over a connection that is already there; it owns the connection.
func NewConn(c *net.UnixConn, o Options) (*FrontEnd, error) {
	o = o.withDefaults()
	f := &FrontEnd{o: o, conn: c, mem: o.Memory}
	if err := f.setUp(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *FrontEnd) setUp() (err error) {
	if f.mem == nil {
		if f.mem, err = NewMemory(f.o.MemBytes, f.o.Regions); err != nil {
			return err
		}
	}
	if f.o.Bare {
		f.offered = ^uint64(0)
		f.acked.Store(f.features())
		f.protocol = wantedProtocol | ProtocolInflight
		return f.makeDrivers()
	}
	return f.Init()
}

// makeDrivers makes the rings' drivers, once the features are known and only once.
func (f *FrontEnd) makeDrivers() error {
	for i := len(f.drivers); i < f.o.Queues; i++ {
		d, err := newDriver(f, i)
		if err != nil {
			return err
		}
		f.drivers = append(f.drivers, d)
	}
	return nil
}

// Close hangs up and frees everything.
func (f *FrontEnd) Close() error {
	err := f.Disconnect()
	for _, d := range f.drivers {
		d.close()
	}
	f.drivers = nil
	f.dropInflight()
	f.dropLog()
	if f.o.Memory == nil && f.mem != nil {
		err = errors.Join(err, f.mem.Close())
		f.mem = nil
	}
	return err
}

// Disconnect hangs up and keeps memory, rings and inflight region, as QEMU does when its
// back end dies.
func (f *FrontEnd) Disconnect() error {
	var err error
	if f.conn != nil {
		err = f.conn.Close()
	}
	if f.channel != nil {
		err = errors.Join(err, f.channel.Close())
	}
	f.conn, f.channel, f.told = nil, nil, nil
	return err
}

// Reconnect hangs up if it is still connected, dials again, negotiates without reading the
// config (as QEMU does) and starts the rings where the guest's requests stand. A back end
// that kept the inflight region's promise completes every request that is outstanding.
func (f *FrontEnd) Reconnect(path string) error {
	if err := f.Attach(path); err != nil {
		return err
	}
	if err := f.Init(); err != nil {
		return err
	}
	return f.Start()
}

// Attach is the dialling part of Reconnect: the connection is open and nothing was said.
func (f *FrontEnd) Attach(path string) error {
	_ = f.Disconnect() // the old connection may well be broken
	c, err := dial(path)
	if err != nil {
		return err
	}
	f.conn = c
	for _, d := range f.drivers {
		d.restore()
	}
	return nil
}

// Memory is guest memory from guest address 0.
func (f *FrontEnd) Memory() []byte { return f.mem.Bytes() }

// RAM is the guest's memory with its regions.
func (f *FrontEnd) RAM() *Memory { return f.mem }

// Alloc takes guest memory; it panics when there is none left, which is the test's mistake.
func (f *FrontEnd) Alloc(n, align uint64) uint64 {
	at, err := f.mem.Alloc(n, align)
	if err != nil {
		panic(err)
	}
	return at
}

// Queue is the driver of ring i.
func (f *FrontEnd) Queue(i int) *Driver { return f.drivers[i] }

// Queues is the number of rings.
func (f *FrontEnd) Queues() int { return len(f.drivers) }

// Offered are the features the back end offered, Acked those that were acknowledged.
func (f *FrontEnd) Offered() uint64 { return f.offered }

// Acked are the features in use.
func (f *FrontEnd) Acked() uint64 { return f.acked.Load() }

// Protocol are the protocol features that were acknowledged.
func (f *FrontEnd) Protocol() uint64 { return f.protocol }

// Conn is the socket.
func (f *FrontEnd) Conn() *net.UnixConn { return f.conn }

// features are the bits to acknowledge.
func (f *FrontEnd) features() uint64 {
	bits := f.offered & (f.o.wanted() | ^uint64(transportBits)) &^ f.o.Decline
	if f.o.Bare {
		bits &= f.o.wanted()
	}
	if f.log != nil {
		bits |= FeatureLogAll
	}
	return bits
}

// Send writes one message as it is.
func (f *FrontEnd) Send(m *Message) error { return send(f.conn, m, f.o.Timeout) }

// SendRaw writes bytes and descriptors that need not make a message.
func (f *FrontEnd) SendRaw(p []byte, fds ...int) error {
	_, _, err := f.conn.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
	return err
}

// Recv reads one message.
func (f *FrontEnd) Recv() (*Message, error) { return recv(f.conn, f.o.Timeout) }

// Quiet reports an error if anything arrives within d: nobody asked.
func (f *FrontEnd) Quiet(d time.Duration) error {
	m, err := recv(f.conn, d)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return nil
	}
	if err != nil {
		return err
	}
	m.CloseFDs()
	return fmt.Errorf("vhosttest: unsolicited message %d", m.Request)
}

// Tell sends a request that has no reply.
func (f *FrontEnd) Tell(request uint32, payload []byte, fds ...int) error {
	err := f.Send(&Message{Request: request, Flags: FlagVersion, Payload: payload, FDs: fds})
	return wrap(request, err)
}

// Ask sends a request that always has a reply of its own, and reads that.
func (f *FrontEnd) Ask(request uint32, payload []byte, fds ...int) (*Message, error) {
	return f.ask(request, FlagVersion, payload, fds)
}

// Call sends a request with NEED_REPLY, where that was negotiated, and expects 0.
func (f *FrontEnd) Call(request uint32, payload []byte, fds ...int) error {
	if f.protocol&ProtocolReplyAck == 0 {
		return f.Tell(request, payload, fds...)
	}
	m, err := f.ask(request, FlagVersion|FlagNeedReply, payload, fds)
	if err != nil {
		return err
	}
	if len(m.Payload) != 8 {
		return fmt.Errorf("vhosttest: request %d acknowledged with %d bytes", request, len(m.Payload))
	}
	if v := m.U64(); v != 0 {
		return fmt.Errorf("%w: request %d with %d", ErrRefused, request, v)
	}
	return nil
}

// ask is as strict with the reply as QEMU is: same request, flags exactly 5.
func (f *FrontEnd) ask(request, flags uint32, payload []byte, fds []int) (*Message, error) {
	err := f.Send(&Message{Request: request, Flags: flags, Payload: payload, FDs: fds})
	if err != nil {
		return nil, wrap(request, err)
	}
	m, err := f.Recv()
	if err != nil {
		return nil, wrap(request, err)
	}
	if m.Request != request || m.Flags != FlagVersion|FlagReply {
		m.CloseFDs()
		return nil, fmt.Errorf("vhosttest: request %d answered by %d with flags %#x", request, m.Request, m.Flags)
	}
	return m, nil
}

// askU64 asks for a number.
func (f *FrontEnd) askU64(request uint32) (uint64, error) {
	m, err := f.Ask(request, nil)
	if err != nil {
		return 0, err
	}
	m.CloseFDs()
	if len(m.Payload) != 8 {
		return 0, fmt.Errorf("vhosttest: request %d answered with %d bytes", request, len(m.Payload))
	}
	return binary.LittleEndian.Uint64(m.Payload), nil
}

func wrap(request uint32, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("vhosttest: request %d: %w", request, err)
}
