package mirror

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
)

// Versions of the protocol, newest first, and why each was made.
//
//	1  the first
const (
	newestVersion = 1
	oldestVersion = 1
)

// Role is a partner's part in the pair.
type Role uint8

// The roles of version 1. A Visitor asks who is there, and goes.
const (
	Primary Role = 1 + iota
	Secondary
	Visitor
)

func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Secondary:
		return "secondary"
	case Visitor:
		return "visitor"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Features are abilities beyond a version's: both must have one to use it. There is none yet.
type Features uint64

// DiskHello is what a partner says of one disk.
type DiskHello struct {
	ID   ID    // of the volume
	Peer ID    // of the volume that it was last paired with; zero: it may be any
	Size int64 // bytes
}

// Hello is what both partners say first.
type Hello struct {
	Features   Features
	Role       Role
	Was        Role   // the last role in which the guest was served from here; 0: never
	Window     int    // bytes that this side takes in flight; 0 from a primary
	Generation uint64 // the newest this side knows of
	Name       string // of the pair, as the operator gave it; at most 128 bytes
	Disks      []DiskHello
	Marks      []Mark // what this side can return to, newest first; at most 64

	// Versions that the peer speaks; set by what was read.
	Oldest, Newest int
}

const (
	helloMagic    = "BELAYMIR"
	helloFixed    = 20
	maxHello      = 8 << 10 // bytes behind the fixed part
	maxName       = 128
	maxMarks      = 64
	maxDiskLength = 1 << 60
)

// Bounds of a window, in bytes: the least has room for the longest frame.
const (
	MinWindow = headerLen + maxMeta + maxBulk
	MaxWindow = 256 << 20
)

// encode returns a hello as it goes over the wire. Its first 20 bytes are the same in every
// version there will ever be:
//
//	0  8 magic            10 u16 newest version   16 u32 checksum: 16 bytes, then the rest
//	8  u16 oldest version 12 u32 length of the rest
func (h *Hello) encode() []byte {
	b := le.AppendUint64(make([]byte, helloFixed, 512), uint64(h.Features))
	b = append(b, uint8(h.Role), uint8(h.Was), 0, 0)
	b = le.AppendUint32(b, uint32(h.Window))
	b = le.AppendUint64(b, h.Generation)
	b = append(append(b, uint8(len(h.Name))), h.Name...)
	b = append(b, uint8(len(h.Disks)))
	for _, d := range h.Disks {
		b = append(append(b, d.ID[:]...), d.Peer[:]...)
		b = le.AppendUint64(b, uint64(d.Size))
	}
	b = append(b, uint8(len(h.Marks)))
	for _, m := range h.Marks {
		b = appendMark(b, m)
	}
	copy(b, helloMagic)
	le.PutUint16(b[8:], oldestVersion)
	le.PutUint16(b[10:], newestVersion)
	le.PutUint32(b[12:], uint32(len(b)-helloFixed))
	le.PutUint32(b[16:], helloSum(b))
	return b
}

func helloSum(b []byte) uint32 {
	return crc32.Update(crc32.Update(saltHello, castagnoli, b[:16]), castagnoli, b[helloFixed:])
}

// validate says what this side may not ask of itself.
func (h *Hello) validate() error {
	switch {
	case h.Name == "" || len(h.Name) > maxName:
		return fmt.Errorf("name of a pair: %d bytes, want 1 to %d", len(h.Name), maxName)
	case len(h.Disks) == 0 || len(h.Disks) > maxDisks:
		return fmt.Errorf("%d disks, want 1 to %d", len(h.Disks), maxDisks)
	case len(h.Marks) > maxMarks:
		return fmt.Errorf("%d marks, at most %d", len(h.Marks), maxMarks)
	case h.Role == Secondary && (h.Window < MinWindow || h.Window > MaxWindow):
		return fmt.Errorf("window of %d bytes, want %d to %d", h.Window, MinWindow, MaxWindow)
	}
	return nil
}

// readHello reads a peer's hello. It reads all of it before it judges the version, so that the
// peer gets ours before the connection ends.
func readHello(r io.Reader) (Hello, error) {
	b := make([]byte, helloFixed, 512)
	if _, err := io.ReadFull(r, b); err != nil {
		return Hello{}, fmt.Errorf("reading hello: %w", err)
	}
	if string(b[:8]) != helloMagic {
		return Hello{}, fmt.Errorf("%w: it begins with %q", ErrNotMirror, b[:8])
	}
	n := le.Uint32(b[12:])
	if n > maxHello {
		return Hello{}, fmt.Errorf("%w: hello of %d bytes", ErrFormat, n)
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[helloFixed:]); err != nil {
		return Hello{}, fmt.Errorf("reading hello: %w", err)
	}
	return decodeHello(b)
}

// decodeHello judges version, checksum and content, in this order.
func decodeHello(b []byte) (Hello, error) {
	h := Hello{Oldest: int(le.Uint16(b[8:])), Newest: int(le.Uint16(b[10:]))}
	if h.Oldest > newestVersion || h.Newest < oldestVersion || h.Oldest > h.Newest {
		return h, fmt.Errorf("%w: the peer speaks %d to %d, this side %d to %d", ErrVersion,
			h.Oldest, h.Newest, oldestVersion, newestVersion)
	}
	if helloSum(b) != le.Uint32(b[16:]) {
		return h, fmt.Errorf("hello: %w", ErrChecksum)
	}
	d := &decoder{p: b[helloFixed:]}
	h.decode(d)
	if d.err == nil && len(d.p) > 0 && h.Newest == newestVersion { // a newer one may say more
		d.fail("bytes too many", uint64(len(d.p)))
	}
	if d.err != nil {
		return h, fmt.Errorf("hello: %w", d.err)
	}
	return h, nil
}

func (h *Hello) decode(d *decoder) {
	h.Features = Features(d.u64())
	h.Role, h.Was = Role(d.u8()), Role(d.u8())
	reserved := d.u16()
	h.Window = int(d.u32())
	h.Generation = d.u64()
	h.Name = string(bytes.Clone(d.bounded(maxName)))
	for range d.count(maxDisks) {
		h.Disks = append(h.Disks, DiskHello{d.id(), d.id(), d.int63()})
	}
	for range d.count(maxMarks) {
		h.Marks = append(h.Marks, d.mark())
	}
	switch {
	case reserved != 0:
		d.fail("reserved bytes", uint64(reserved))
	case h.Role < Primary || h.Role > Visitor:
		d.fail("role", uint64(h.Role))
	case h.Was > Secondary:
		d.fail("last role", uint64(h.Was))
	case h.Window > MaxWindow || h.Role == Secondary && h.Window < MinWindow:
		d.fail("window", uint64(h.Window))
	case h.Name == "" || len(h.Disks) == 0:
		d.fail("name or disks", 0)
	}
	for _, disk := range h.Disks {
		if disk.Size == 0 || disk.Size%sector != 0 || disk.Size > maxDiskLength {
			d.fail("size of a disk", uint64(disk.Size))
		}
	}
}

// bounded reads a byte with a length and so many bytes.
func (d *decoder) bounded(most int) []byte { return d.take(d.count(most)) }

// count reads a byte that may not be above most.
func (d *decoder) count(most int) int {
	n := int(d.u8())
	if n > most {
		d.fail("number", uint64(n))
		return 0
	}
	return n
}

// Judge says whether two hellos may form a pair, from the side of own. The peer comes to the same
// judgement, whichever side it is.
func Judge(own, peer *Hello) error {
	switch {
	case own.Name != peer.Name:
		return fmt.Errorf("%w: its name is %q, this one's %q", ErrWrongPeer, peer.Name, own.Name)
	case len(own.Disks) != len(peer.Disks):
		return fmt.Errorf("%w: it has %d disks, this side %d", ErrWrongVolume,
			len(peer.Disks), len(own.Disks))
	}
	for i := range own.Disks {
		a, b := &own.Disks[i], &peer.Disks[i]
		switch {
		case differ(a.Peer, b.ID):
			return fmt.Errorf("%w: disk %d is %v, not %v", ErrWrongVolume, i, b.ID, a.Peer)
		case differ(b.Peer, a.ID):
			return fmt.Errorf("%w: disk %d wants %v, this is %v", ErrWrongVolume, i, b.Peer, a.ID)
		}
		if a.Size != b.Size {
			return fmt.Errorf("%w: disk %d has %d bytes, here %d", ErrSize, i, b.Size, a.Size)
		}
	}
	if own.Role == Visitor || peer.Role == Visitor {
		return nil
	}
	return judgeRoles(own, peer)
}

// judgeRoles wants one of each, and no primary that others have left behind.
func judgeRoles(own, peer *Hello) error {
	if own.Role == peer.Role {
		return fmt.Errorf("%w: both are %v (generation here %d, there %d)", ErrRole, own.Role,
			own.Generation, peer.Generation)
	}
	primary, secondary := own, peer
	if own.Role == Secondary {
		primary, secondary = peer, own
	}
	if primary.Generation < secondary.Generation {
		return fmt.Errorf("%w: the primary is of %d, the secondary knows of %d", ErrOlderGeneration,
			primary.Generation, secondary.Generation)
	}
	return nil
}

// differ says whether a volume is not the one that is known, if one is.
func differ(known, id ID) bool { return !known.IsZero() && known != id }

// Common returns the newest mark that both have, in the primary's order.
func Common(primary, secondary *Hello) (Mark, bool) {
	for _, m := range primary.Marks {
		for _, n := range secondary.Marks {
			if m == n && !m.IsZero() {
				return m, true
			}
		}
	}
	return Mark{}, false
}
