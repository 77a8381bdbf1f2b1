package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// codec is a structure of the format as the tests below see it: decode returns what encode takes.
type codec struct {
	bytes   []byte
	reseal  func(p []byte) // makes the checksum right again
	decode  func(p []byte) (any, error)
	encode  func(v any) []byte
	noMagic bool // the checksum is the only guard: a record after damage is "none"
}

func codecs() map[string]codec {
	c := map[string]codec{
		"superblock": {
			bytes:  encodeSuperblock(sampleSuperblock()),
			reseal: func(p []byte) { sealHeader(p, magicSuperblock, saltSuperblock) },
			decode: func(p []byte) (any, error) { return decodeSuperblock(p, 0) },
			encode: func(v any) []byte { return encodeSuperblock(v.(*superblock)) },
		},
		"journal header": {
			bytes:  encodeHeader(sampleHeader()),
			reseal: func(p []byte) { sealHeader(p, magicJournal, saltJournal) },
			decode: func(p []byte) (any, error) { return decodeJournalHeader(p, 0) },
			encode: func(v any) []byte { return encodeHeader(v.(*journalHeader)) },
		},
		"journal header in use": {
			bytes:  encodeHeader(sampleOpenHeader()),
			reseal: func(p []byte) { sealHeader(p, magicJournal, saltJournal) },
			decode: func(p []byte) (any, error) { return decodeJournalHeader(p, 0) },
			encode: func(v any) []byte { return encodeHeader(v.(*journalHeader)) },
		},
		"intent": {
			bytes:  encodeIntent(sampleIntent()),
			reseal: func(p []byte) { sealHeader(p, magicIntent, saltIntent) },
			decode: func(p []byte) (any, error) {
				return decodeIntent(p, 0, sampleID, sampleOpenHeader().ring.key)
			},
			encode: func(v any) []byte { return encodeIntent(v.(*intent)) },
		},
		"pair": {
			bytes:  encodePair(samplePair()),
			reseal: func(p []byte) { sealHeader(p, magicPair, saltPair) },
			decode: func(p []byte) (any, error) { return decodePair(p, 0) },
			encode: func(v any) []byte { return encodePair(v.(*pairRecord)) },
		},
		"catalog": {
			bytes:  encodeCatalog(sampleCatalog()),
			reseal: func(p []byte) { sealHeader(p, magicCatalog, saltCatalog) },
			decode: func(p []byte) (any, error) {
				if len(p) < headerLen {
					return decodeSampleCatalog(p, 0)
				}
				return decodeSampleCatalog(p, catalogSum(p))
			},
			encode: func(v any) []byte { return encodeCatalog(v.(*catalog)) },
		},
	}
	for name, p := range sampleRecords() {
		c["record "+name] = codec{
			bytes: p, decode: decodeRecord, encode: encodeRecord, noMagic: true,
			reseal: func(p []byte) {
				_, sum := recordSum(p, 7)
				binary.LittleEndian.PutUint32(p, sum)
			},
		}
	}
	return c
}

func decodeSampleCatalog(p []byte, crc uint32) (*catalog, error) {
	return decodeCatalog(p, catalogRef{page: 17, bytes: uint64(len(p)), gen: 5, crc: crc})
}

// record is a decoded record: its header and what its payload's decoder returned.
type record struct {
	header  recordHeader
	payload any
}

type writes struct {
	places []placement
	sums   []uint32
}

var errNoRecord = errors.New("no record")

func decodeRecord(p []byte) (any, error) {
	if len(p) < recordHead {
		return nil, errNoRecord
	}
	h, ok := decodeRecordHeader(p, 4096)
	if !ok || int(h.length) != len(p) {
		return nil, errNoRecord
	}
	if found, want := recordSum(p, 7); found != want {
		return nil, errNoRecord
	}
	if err := h.validate(p, 0); err != nil {
		return nil, err
	}
	v, err := decodePayload(h.kind, p[recordHead:])
	return record{h, v}, err
}

func decodePayload(kind recordKind, p []byte) (any, error) {
	switch kind {
	case recordWrite, recordStage:
		places, sums, err := decodeWrite(p, nil, nil)
		return writes{places, sums}, err
	case recordStart:
		return decodeStart(p)
	case recordLoad:
		return decodeLoad(p)
	case recordSweep:
		return decodeSweep(p)
	case recordRollback:
		return decodeRollback(p)
	case recordPad:
		if len(p) > 0 {
			return nil, recordError("length of a pad", len(p), 0)
		}
		return nil, nil
	case recordProven:
		return decodeProof(p, 4096)
	}
	return decodeWord(p, 1<<64-1)
}

func encodeRecord(v any) []byte {
	r := v.(record)
	p := make([]byte, r.header.length)
	encodePayload(r.payload, p[recordHead:])
	r.header.encode(p, 7)
	return p
}

func encodePayload(v any, p []byte) {
	switch v := v.(type) {
	case writes:
		encodeWrite(p, v.places, v.sums)
	case startRecord:
		v.encode(p)
	case sweepRecord:
		v.encode(p)
	case loadRecord:
		v.encode(p)
	case proof:
		v.encode(p)
	case rollbackRecord:
		v.encode(p)
	case uint64:
		putWord(p, v)
	}
}

func TestDecodeEncodeAgree(t *testing.T) {
	for name, c := range codecs() {
		v, err := c.decode(c.bytes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.encode(v); !bytes.Equal(got, c.bytes) {
			t.Errorf("%s: encoding what was decoded differs", name)
		}
	}
	p := encodeCatalog(sampleCatalog())
	if c, err := decodeSampleCatalog(p, catalogSum(p)); err != nil || !reflect.DeepEqual(c, sampleCatalog()) {
		t.Errorf("catalog: %v\n%+v", err, c)
	}
}

// Every flipped byte of every structure is detected. Magic, version and checksum are three
// errors, in that order.
func TestFlipEveryByte(t *testing.T) {
	for name, c := range codecs() {
		for i := range c.bytes {
			for _, flip := range []byte{1, 0x80, 0xff} {
				p := slices.Clone(c.bytes)
				p[i] ^= flip
				_, err := c.decode(p)
				var want error
				switch {
				case c.noMagic:
					want = errNoRecord
				case i < 8:
					want = ErrNotVolume
				case i < 12:
					want = ErrVersion
				default:
					want = ErrCorrupt
				}
				if !errors.Is(err, want) {
					t.Fatalf("%s, byte %d flipped by %#x: %v, want %v", name, i, flip, err, want)
				}
			}
		}
	}
}

// A catalog that is right in itself, but not the one that the superblock names.
func TestCatalogDoesNotVouchForItself(t *testing.T) {
	p := encodeCatalog(sampleCatalog())
	if _, err := decodeSampleCatalog(p, catalogSum(p)+1); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	other := catalogRef{page: 17, bytes: uint64(len(p)), gen: 6, crc: catalogSum(p)}
	if _, err := decodeCatalog(p, other); !errors.Is(err, ErrCorrupt) {
		t.Fatal("another generation:", err)
	}
}

// With a checksum that holds, a changed byte is either a different value, which encodes to those
// very bytes again, or an error. Nothing is accepted and ignored.
func TestNoByteIsIgnored(t *testing.T) {
	for name, c := range codecs() {
		for i := range c.bytes {
			for _, flip := range []byte{1, 0x80, 0xff} {
				p := slices.Clone(c.bytes)
				p[i] ^= flip
				c.reseal(p)
				v, err := c.decode(p)
				if err == nil && !bytes.Equal(c.encode(v), p) {
					t.Fatalf("%s: byte %d, flipped by %#x, is ignored", name, i, flip)
				}
			}
		}
	}
}

func TestCutAtEveryLength(t *testing.T) {
	for name, c := range codecs() {
		for n := range len(c.bytes) {
			if _, err := c.decode(c.bytes[:n:n]); err == nil {
				t.Fatalf("%s: accepted %d of %d bytes", name, n, len(c.bytes))
			}
		}
		if _, err := c.decode(append(slices.Clone(c.bytes), 0)); err == nil {
			t.Fatalf("%s: accepted a byte too many", name)
		}
	}
}

// Every error says in which file, where, what was found and what belongs there.
func TestErrorsSayWhere(t *testing.T) {
	p := encodeSuperblock(sampleSuperblock())
	p[sbSlack+2] = 1
	sealHeader(p, magicSuperblock, saltSuperblock)
	_, err := decodeSuperblock(p, 0)
	want := `superblock: corrupt at byte 60: slack is 65566, want at most 10000`
	if err == nil || err.Error() != want {
		t.Fatal(err)
	}
}

func TestCatalogLimits(t *testing.T) {
	for name, edit := range map[string]func(*catalog){
		"generation":       func(c *catalog) { c.gen = 0 },
		"epoch":            func(c *catalog) { c.epoch = maxEpoch + 1 },
		"position":         func(c *catalog) { c.start.pos++ },
		"incarnation":      func(c *catalog) { c.start.incarnation = 0 },
		"size":             func(c *catalog) { c.size = maxDisk + 512 },
		"sectors":          func(c *catalog) { c.size++ },
		"slots":            func(c *catalog) { c.slots = maxSlots + 1 },
		"root page":        func(c *catalog) { c.blocks.roots[0].page = c.mapPages },
		"root generation":  func(c *catalog) { c.blocks.roots[0].gen = c.gen + 1 },
		"point order":      func(c *catalog) { c.points[0].id = 6 },
		"point in future":  func(c *catalog) { c.points[1].id = 7 },
		"point flags":      func(c *catalog) { c.points[0].flags = 1 << 15 },
		"point sequence":   func(c *catalog) { c.points[0].seq = 100 },
		"line order":       func(c *catalog) { c.branches[1].id = 1 },
		"line from itself": func(c *catalog) { c.branches[1].from = 2 },
		"run number":       func(c *catalog) { c.runs[0].id = 13 },
		"run flags":        func(c *catalog) { c.runs[0].flags = 4 },
		"run head":         func(c *catalog) { c.runs[0].head.page = 1 << 40 },
		"free page 0":      func(c *catalog) { c.free[0].page = 0 },
		"free overlap":     func(c *catalog) { c.free[0].n = 12 },
		"free outside":     func(c *catalog) { c.free[1].n = 45 },
		"free overflow":    func(c *catalog) { c.free[1].n = 1<<64 - 10 },
	} {
		c := sampleCatalog()
		edit(c)
		p := encodeCatalog(c)
		if _, err := decodeSampleCatalog(p, catalogSum(p)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A length that is far too large must not take memory first.
func TestCatalogCountsAreBounded(t *testing.T) {
	for off := 112; off < 168; off += 8 {
		p := encodeCatalog(sampleCatalog())
		binary.LittleEndian.PutUint64(p[off:], 1<<60)
		sealHeader(p, magicCatalog, saltCatalog)
		if _, err := decodeSampleCatalog(p, catalogSum(p)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("count at byte %d: %v", off, err)
		}
	}
}
