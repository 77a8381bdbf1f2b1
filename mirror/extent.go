package mirror

import "math"

// sector is the unit of everything on a disk, in bytes.
const sector = 512

// What an extent is.
const (
	extentData = 1
	extentZero = 2
)

const (
	extentLen = 24
	dataMeta  = 8 + extentLen  // the shortest meta data of DATA
	syncMeta  = 16 + extentLen // and of SYNC DATA
)

// extent is a stretch of a disk whose content is part of a frame, or zeroes.
type extent struct {
	off, len int64
	sum      uint32 // of the content; 0 for zeroes
	zero     bool
}

// data is DATA: what changed in an epoch.
type data struct {
	epoch   uint64
	extents []extent
}

func (m *data) encode(b []byte) []byte {
	return appendExtents(le.AppendUint64(b, m.epoch), m.extents)
}

func (m *data) decode(d *decoder) {
	m.epoch = d.epoch()
	m.extents = d.extents()
}

// syncData is SYNC DATA: content of the point that a synchronisation leads to.
type syncData struct {
	run     ID
	extents []extent
}

func (m *syncData) encode(b []byte) []byte { return appendExtents(append(b, m.run[:]...), m.extents) }

func (m *syncData) decode(d *decoder) {
	m.run = d.id()
	m.extents = d.extents()
}

func appendExtents(b []byte, extents []extent) []byte {
	for _, e := range extents {
		kind := uint32(extentData)
		if e.zero {
			kind = extentZero
		}
		b = le.AppendUint64(le.AppendUint64(b, uint64(e.off)), uint64(e.len))
		b = le.AppendUint32(le.AppendUint32(b, e.sum), kind)
	}
	return b
}

// extents reads to the end. What they say of content must be exactly what the frame has; whether
// they lie inside the disk is for those to judge who know its size.
func (d *decoder) extents() []extent {
	n := len(d.p) / extentLen
	if n == 0 || n > maxExtents {
		d.fail("extents", uint64(n))
		return nil
	}
	list := make([]extent, 0, n)
	for d.more() {
		e := extent{off: d.int63(), len: d.int63(), sum: d.u32()}
		kind := d.u32()
		e.zero = kind == extentZero
		switch {
		case kind != extentData && kind != extentZero:
			d.fail("kind of an extent", uint64(kind))
		case e.len == 0 || e.off%sector != 0 || e.len%sector != 0:
			d.fail("extent", uint64(e.off))
		case e.len > math.MaxInt64-e.off:
			d.fail("length of an extent", uint64(e.len))
		case e.zero && e.sum != 0:
			d.fail("checksum of zeroes", uint64(e.sum))
		case !e.zero && e.len > d.bulk:
			d.fail("content too short by", uint64(e.len-d.bulk))
		case !e.zero:
			d.bulk -= e.len
		}
		list = append(list, e)
	}
	if d.bulk != 0 {
		d.fail("content too long by", uint64(d.bulk))
	}
	return list
}

// inside says whether all extents lie on a disk of this size.
func inside(extents []extent, size int64) bool {
	for _, e := range extents {
		if e.off > size || e.len > size-e.off {
			return false
		}
	}
	return true
}

// Piece is a stretch of a disk as it was received, checked against its checksum. Data is aligned to 4096
// bytes in memory, as long as all pieces before it in the call are multiples of that.
type Piece struct {
	Off, Len int64
	Data     []byte // Len bytes, or nil for zeroes; valid until the call that got it returns
	Sum      uint32 // Checksum of Data
}

// pieces is pieces, and tells the primary of what is damaged: it may never have looked at what it sent.
func (s *Session) pieces(f frame, extents []extent) ([]Piece, error) {
	list, err := pieces(f, extents)
	if err != nil {
		bad := extents[len(list)]
		s.depart(kindDamaged, int(f.disk), &Range{bad.off, bad.len})
	}
	return list, err
}

// pieces cuts a frame's content as its extents say and checks it. With an error it returns those that are
// whole, up to the first that is not.
func pieces(f frame, extents []extent) ([]Piece, error) {
	var bulk []byte
	if f.bulk != nil {
		bulk = f.bulk.p
	}
	list := make([]Piece, 0, len(extents))
	for _, e := range extents {
		p := Piece{Off: e.off, Len: e.len}
		if !e.zero {
			p.Data, p.Sum, bulk = bulk[:e.len:e.len], e.sum, bulk[e.len:]
			if got := Checksum(p.Data); got != e.sum {
				return list, &FrameError{f.kind, "content at byte", uint64(e.off), ErrChecksum}
			}
		}
		list = append(list, p)
	}
	return list, nil
}
