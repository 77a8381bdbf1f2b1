package mirror

import "math"

// body is the meta data of a frame.
type body interface {
	encode(b []byte) []byte
	decode(d *decoder)
}

// bodies makes an empty body for each kind of frame that has no content.
var bodies = [kinds]func() body{
	kindWelcome:     func() body { return new(empty) },
	kindRefuse:      func() body { return new(words) },
	kindPing:        func() body { return new(empty) },
	kindCredit:      func() body { return new(number) },
	kindGiveUp:      func() body { return new(words) },
	kindHandOver:    func() body { return new(words) },
	kindLeave:       func() body { return new(words) },
	kindData:        func() body { return new(data) },
	kindSeal:        func() body { return new(seal) },
	kindAck:         func() body { return new(number) },
	kindRingStart:   func() body { return new(number) },
	kindStartAck:    func() body { return new(number) },
	kindReport:      func() body { return new(report) },
	kindShutdown:    func() body { return new(Cause) },
	kindShutdownAck: func() body { return new(empty) },
	kindRenew:       func() body { return new(renew) },
	kindRenewed:     func() body { return new(number) },
	kindSyncBegin:   func() body { return new(SyncPlan) },
	kindSyncHave:    func() body { return new(syncHave) },
	kindSyncData:    func() body { return new(syncData) },
	kindSyncEnd:     func() body { return new(syncEnd) },
	kindSyncDone:    func() body { return new(syncDone) },
	kindVerify:      func() body { return new(verify) },
	kindSums:        func() body { return new(sums) },
	kindDamaged:     func() body { return new(Range) },
}

// decodeBody turns meta data into a body. It keeps nothing of meta.
func decodeBody(h header, meta []byte) (body, error) {
	d := &decoder{kind: h.kind, p: meta, bulk: int64(h.bulk)}
	b := bodies[h.kind]()
	b.decode(d)
	if d.err == nil && len(d.p) != 0 {
		d.fail("bytes too many", uint64(len(d.p)))
	}
	return b, d.err
}

// decoder reads fields. After the first fault it returns zeroes.
type decoder struct {
	kind Kind
	p    []byte
	bulk int64 // bytes of content, for who has to say what they are
	err  error
}

func (d *decoder) fail(field string, value uint64) {
	if d.err == nil {
		d.err = &FrameError{d.kind, field, value, ErrFormat}
	}
	d.p = nil
}

// zeroes is read where there is nothing to read.
var zeroes [maxName]byte

// take returns the next n bytes, n at most maxName, valid as long as what is decoded.
func (d *decoder) take(n int) []byte {
	if n > len(d.p) {
		d.fail("bytes too few", uint64(len(d.p)))
		return zeroes[:n]
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

func (d *decoder) rest() []byte { p := d.p; d.p = nil; return p }
func (d *decoder) more() bool   { return len(d.p) > 0 && d.err == nil }
func (d *decoder) u8() uint8    { return d.take(1)[0] }
func (d *decoder) u16() uint16  { return le.Uint16(d.take(2)) }
func (d *decoder) u32() uint32  { return le.Uint32(d.take(4)) }
func (d *decoder) u64() uint64  { return le.Uint64(d.take(8)) }
func (d *decoder) id() ID       { return ID(d.take(len(ID{}))) }

// int63 reads a length or an offset.
func (d *decoder) int63() int64 {
	v := d.u64()
	if v > math.MaxInt64 {
		d.fail("number", v)
		return 0
	}
	return int64(v)
}

// epoch reads an epoch, which fits a mark.
func (d *decoder) epoch() uint64 {
	v := d.u64()
	if v >= math.MaxInt64 {
		d.fail("epoch", v)
		return 0
	}
	return v
}

// markEpoch reads the epoch of a mark, which is stored with one added.
func (d *decoder) markEpoch() int64 { return d.int63() - 1 }

// mark reads a mark; none is all zero.
func (d *decoder) mark() Mark {
	m := Mark{Generation: d.u64(), Epoch: d.markEpoch()}
	if !m.IsZero() {
		return m
	}
	if m.Epoch != Base {
		d.fail("epoch of no generation", uint64(m.Epoch))
	}
	return Mark{}
}
