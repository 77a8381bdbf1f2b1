package vhosttest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Init sends what QEMU sends when it realizes the device. It may be sent again on the same
// connection, as a device_del and device_add do.
func (f *FrontEnd) Init() (err error) {
	if f.offered, err = f.askU64(GetFeatures); err != nil {
		return err
	}
	if err := f.initProtocol(); err != nil {
		return err
	}
	if err := f.Tell(SetOwner, nil); err != nil {
		return err
	}
	if _, err := f.askU64(GetFeatures); err != nil {
		return err
	}
	f.acked.Store(f.features())
	if err := f.makeDrivers(); err != nil {
		return err
	}
	for _, d := range f.drivers {
		if err := f.SetCall(d); err != nil {
			return err
		}
		if err := f.SetErr(d); err != nil {
			return err
		}
	}
	return nil
}

func (f *FrontEnd) initProtocol() error {
	offered, err := f.askU64(GetProtocolFeatures)
	if err != nil {
		return err
	}
	f.protocol = offered & f.wantedProtocol()
	if err := f.Tell(SetProtocolFeatures, quads(f.protocol)); err != nil {
		return err
	}
	if f.protocol&ProtocolMQ != 0 {
		n, err := f.askU64(GetQueueNum)
		if err != nil {
			return err
		}
		if n < uint64(f.o.Queues) {
			return fmt.Errorf("vhosttest: the back end has %d queues, %d wanted", n, f.o.Queues)
		}
	}
	if f.protocol&ProtocolMemSlots != 0 {
		if f.maxSlots, err = f.askU64(GetMaxMemSlots); err != nil {
			return err
		}
	}
	if f.protocol&ProtocolBackendReq != 0 {
		return f.openChannel()
	}
	return nil
}

func (f *FrontEnd) wantedProtocol() uint64 {
	bits := wantedProtocol
	if f.o.Inflight {
		bits |= ProtocolInflight
	}
	if f.o.MemSlots {
		bits |= ProtocolMemSlots
	}
	return bits
}

// Start starts all rings where they stand, in the order of QEMU's messages.
func (f *FrontEnd) Start() error { return f.StartQueues(len(f.drivers)) }

// StartQueues starts the first n rings only, as a guest with fewer queues does; the others
// are still enabled.
func (f *FrontEnd) StartQueues(n int) error {
	if err := f.Prepare(); err != nil {
		return err
	}
	for _, d := range f.drivers[:n] {
		if err := f.StartRing(d); err != nil {
			return err
		}
	}
	if f.log != nil {
		if err := f.SendLogBase(); err != nil {
			return err
		}
	}
	return f.EnableAll(true)
}

// Prepare is the part of Start that concerns no single ring: features, inflight region,
// notifiers, memory.
func (f *FrontEnd) Prepare() error {
	f.acked.Store(f.features())
	if err := f.SetFeatures(f.Acked()); err != nil {
		return err
	}
	if err := f.prepareInflight(); err != nil {
		return err
	}
	for _, d := range f.drivers {
		if err := f.SetCall(d); err != nil {
			return err
		}
	}
	if err := f.SetFeatures(f.Acked()); err != nil {
		return err
	}
	return f.SendMemory()
}

// SetFeatures sends SET_FEATURES, with NEED_REPLY if the log is in it, as QEMU does.
func (f *FrontEnd) SetFeatures(bits uint64) error {
	if bits&FeatureLogAll != 0 {
		return f.Call(SetFeatures, quads(bits))
	}
	return f.Tell(SetFeatures, quads(bits))
}

// SendMemory tells the back end of all memory it does not know yet.
func (f *FrontEnd) SendMemory() error {
	if f.protocol&ProtocolMemSlots == 0 {
		return f.SendTable()
	}
	for _, r := range f.mem.Regions() {
		if f.knows(r) {
			continue
		}
		if err := f.AddRegion(r); err != nil {
			return err
		}
	}
	return nil
}

func (f *FrontEnd) knows(r Region) bool {
	for _, t := range f.told {
		if t == r {
			return true
		}
	}
	return false
}

// SendTable sends the whole memory table.
func (f *FrontEnd) SendTable() error {
	rs := f.mem.Regions()
	p, fds := quads(uint64(len(rs))), []int(nil)
	for _, r := range rs {
		p, fds = append(p, r.encode()...), append(fds, r.FD)
	}
	return f.Call(SetMemTable, p, fds...)
}

// AddRegion sends ADD_MEM_REG.
func (f *FrontEnd) AddRegion(r Region) error {
	err := f.Call(AddMemReg, append(quads(0), r.encode()...), r.FD)
	if err == nil {
		f.told = append(f.told, r)
	}
	return err
}

// RemRegion sends REM_MEM_REG.
func (f *FrontEnd) RemRegion(r Region) error {
	gone := r
	gone.Offset = 0
	if err := f.Call(RemMemReg, append(quads(0), gone.encode()...)); err != nil {
		return err
	}
	for i := range f.told {
		if f.told[i] == r {
			f.told = append(f.told[:i:i], f.told[i+1:]...)
			break
		}
	}
	return nil
}

// StartRing sends NUM, BASE, ADDR and KICK for one ring, the kick already signalled.
func (f *FrontEnd) StartRing(d *Driver) error {
	if err := f.Tell(SetVringNum, words(uint32(d.index), uint32(d.size))); err != nil {
		return err
	}
	if err := f.Tell(SetVringBase, words(uint32(d.index), d.base)); err != nil {
		return err
	}
	if err := f.SetAddr(d, f.log != nil); err != nil {
		return err
	}
	if err := d.newKick(); err != nil {
		return err
	}
	d.started = true
	return f.Tell(SetVringKick, quads(uint64(d.index)), d.kick)
}

// SetAddr sends SET_VRING_ADDR, with NEED_REPLY if the ring is to be logged.
func (f *FrontEnd) SetAddr(d *Driver, logged bool) error {
	flags, at := uint32(0), uint64(0)
	if logged {
		flags, at = 1, d.device
	}
	p := words(uint32(d.index), flags)
	p = append(p, quads(user(d.desc), user(d.device), user(d.driver), at)...)
	if logged {
		return f.Call(SetVringAddr, p)
	}
	return f.Tell(SetVringAddr, p)
}

// SetCall gives the back end the ring's call eventfd.
func (f *FrontEnd) SetCall(d *Driver) error {
	return f.Tell(SetVringCall, quads(uint64(d.index)), d.call)
}

// SetErr gives the back end the ring's error eventfd.
func (f *FrontEnd) SetErr(d *Driver) error {
	return f.Tell(SetVringErr, quads(uint64(d.index)), d.err)
}

// Enable sends SET_VRING_ENABLE for one ring.
func (f *FrontEnd) Enable(i int, on bool) error {
	v := uint32(0)
	if on {
		v = 1
	}
	return f.Tell(SetVringEnable, words(uint32(i), v))
}

// EnableAll enables or disables every ring, started or not.
func (f *FrontEnd) EnableAll(on bool) error {
	for i := range f.drivers {
		if err := f.Enable(i, on); err != nil {
			return err
		}
	}
	return nil
}

// Stop disables all rings and asks for the base of each started one: after it the back end
// does not touch guest memory. The bases are kept for the next Start.
func (f *FrontEnd) Stop() error {
	if err := f.EnableAll(false); err != nil {
		return err
	}
	for _, d := range f.drivers {
		if !d.started {
			continue
		}
		base, err := f.GetBase(d.index)
		if err != nil {
			return err
		}
		d.base, d.started = base, false
	}
	return nil
}

// GetBase sends GET_VRING_BASE.
func (f *FrontEnd) GetBase(i int) (uint32, error) {
	m, err := f.Ask(GetVringBase, words(uint32(i), 0))
	if err != nil {
		return 0, err
	}
	m.CloseFDs()
	if len(m.Payload) != 8 || uint32(m.U64()) != uint32(i) {
		return 0, fmt.Errorf("vhosttest: GET_VRING_BASE %d answered with % x", i, m.Payload)
	}
	return uint32(m.U64() >> 32), nil
}

// Reset is a guest's reset: the rings stop and start afresh, the inflight region is dropped.
func (f *FrontEnd) Reset() error {
	if err := f.Stop(); err != nil {
		return err
	}
	f.dropInflight()
	for _, d := range f.drivers {
		d.Reset()
	}
	return nil
}

// Config reads config space bytes [off, off+n).
func (f *FrontEnd) Config(off, n uint32) ([]byte, error) {
	m, err := f.Ask(GetConfig, append(words(off, n, 0), make([]byte, n)...))
	if err != nil {
		return nil, err
	}
	m.CloseFDs()
	if len(m.Payload) != 12+int(n) {
		return nil, fmt.Errorf("vhosttest: GET_CONFIG of %d bytes answered with %d", n, len(m.Payload))
	}
	return m.Payload[12:], nil
}

// WriteConfig writes config space bytes from off on.
func (f *FrontEnd) WriteConfig(off uint32, p []byte) error {
	return f.Call(SetConfig, append(words(off, uint32(len(p)), 0), p...))
}

func eventfd(value uint) (int, error) {
	return unix.Eventfd(value, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
}
