package vhosttest

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// userBase is where user addresses begin. They are made up: a back end may use them for
	// translation only.
	userBase = uint64(0x7f5a_0000_0000)
)

// ErrNoMemory reports that the guest's memory is used up.
var ErrNoMemory = errors.New("vhosttest: guest memory is used up")

// Region is a piece of guest memory as the back end is told of it.
type Region struct {
	GuestAddr, Size, UserAddr, Offset uint64
	FD                                int
}

func (r Region) encode() []byte { return quads(r.GuestAddr, r.Size, r.UserAddr, r.Offset) }

// Memory is a guest's memory: one memfd from guest address 0, told to the back end as one or
// more regions, and further memfds that Plug adds above it.
type Memory struct {
	base    []byte
	fd      int
	next    uint64 // first free guest address, for Alloc
	regions []Region
	plugged map[uint64][]byte // by guest address
}

// NewMemory maps size bytes and tells them as the given number of regions.
func NewMemory(size int64, regions int) (*Memory, error) {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	fd, base, err := memfd("vhosttest-ram", size)
	if err != nil {
		return nil, err
	}
	m := &Memory{base: base, fd: fd, next: pageSize, plugged: map[uint64][]byte{}}
	part := (uint64(size)/uint64(regions) + pageSize - 1) &^ (pageSize - 1)
	for at := uint64(0); at < uint64(size); at += part {
		n := min(part, uint64(size)-at)
		m.regions = append(m.regions, Region{GuestAddr: at, Size: n, UserAddr: user(at), Offset: at, FD: fd})
	}
	return m, nil
}

// user gives the user address of a guest address.
func user(guest uint64) uint64 { return userBase + guest }

// Bytes is the memory from guest address 0, without what was plugged.
func (m *Memory) Bytes() []byte { return m.base }

// FD is the file of the memory from guest address 0.
func (m *Memory) FD() int { return m.fd }

// Slice is n bytes of memory at a guest address, nil where there is none.
func (m *Memory) Slice(guest, n uint64) []byte {
	if guest+n <= uint64(len(m.base)) {
		return m.base[guest : guest+n : guest+n]
	}
	for at, p := range m.plugged {
		if guest >= at && guest-at+n <= uint64(len(p)) {
			return p[guest-at : guest-at+n]
		}
	}
	return nil
}

// Regions are the regions the back end is to know.
func (m *Memory) Regions() []Region { return m.regions }

// Top is the end of the highest region.
func (m *Memory) Top() uint64 {
	top := uint64(0)
	for _, r := range m.regions {
		top = max(top, r.GuestAddr+r.Size)
	}
	return top
}

// Alloc takes n bytes at a multiple of align. Nothing is ever given back.
func (m *Memory) Alloc(n, align uint64) (uint64, error) {
	at := (m.next + align - 1) / align * align
	if at+n > uint64(len(m.base)) {
		return 0, fmt.Errorf("%w: %d bytes at %#x", ErrNoMemory, n, at)
	}
	m.next = at + n
	return at, nil
}

// Plug adds a region of its own memfd above all others, as a DIMM would. The back end is not
// told; FrontEnd.AddRegion does that.
func (m *Memory) Plug(size int64) (Region, error) {
	fd, p, err := memfd("vhosttest-dimm", size)
	if err != nil {
		return Region{}, err
	}
	at := (m.Top() + 1<<30) &^ (1<<30 - 1)
	r := Region{GuestAddr: at, Size: uint64(size), UserAddr: user(at), FD: fd}
	m.plugged[at] = p
	m.regions = append(m.regions, r)
	return r, nil
}

// Unplug takes a plugged region away and unmaps it.
func (m *Memory) Unplug(r Region) error {
	for i := range m.regions {
		if m.regions[i] == r {
			m.regions = append(m.regions[:i:i], m.regions[i+1:]...)
			break
		}
	}
	p := m.plugged[r.GuestAddr]
	delete(m.plugged, r.GuestAddr)
	return errors.Join(unix.Munmap(p), unix.Close(r.FD))
}

// Close unmaps everything.
func (m *Memory) Close() error {
	err := errors.Join(unix.Munmap(m.base), unix.Close(m.fd))
	for _, r := range m.regions {
		if p := m.plugged[r.GuestAddr]; p != nil {
			err = errors.Join(err, unix.Munmap(p), unix.Close(r.FD))
		}
	}
	m.regions, m.plugged, m.base = nil, nil, nil
	return err
}

// memfd makes a file of memory and maps it.
func memfd(name string, size int64) (int, []byte, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil, fmt.Errorf("vhosttest: memfd: %w", err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		_ = unix.Close(fd)
		return -1, nil, fmt.Errorf("vhosttest: memfd of %d bytes: %w", size, err)
	}
	p, err := mapFD(fd, size)
	if err != nil {
		_ = unix.Close(fd)
		return -1, nil, err
	}
	return fd, p, nil
}

func mapFD(fd int, size int64) ([]byte, error) {
	p, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("vhosttest: map %d bytes: %w", size, err)
	}
	return p, nil
}

// word is the aligned 32-bit word at an offset: what the atomic operations on rings take.
func word(p []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&p[off : off+4][0]))
}

func quad(p []byte, off uint64) *uint64 {
	return (*uint64)(unsafe.Pointer(&p[off : off+8][0]))
}
