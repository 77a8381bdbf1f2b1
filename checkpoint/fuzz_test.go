package checkpoint

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// fuzzSeeds gives the fuzzer what is right, and what is right but for its checksum.
func fuzzSeeds(f *testing.F, names ...string) {
	for _, name := range names {
		f.Add(codecs()[name].bytes)
	}
	f.Add([]byte{})
}

// fuzzCodec holds decoders to the law: what decodes encodes to the same bytes. The checksum is
// made right first, because the fuzzer cannot guess it.
func fuzzCodec(f *testing.F, name string) {
	c := codecs()[name]
	fuzzSeeds(f, name)
	f.Fuzz(func(t *testing.T, in []byte) {
		p := bytes.Clone(in)
		if len(p) >= headerLen {
			copy(p, c.bytes[:headerLen])
			c.reseal(p)
		}
		v, err := c.decode(p)
		if err == nil && !bytes.Equal(c.encode(v), p) {
			t.Fatal("encoding what was decoded differs")
		}
	})
}

func FuzzSuperblock(f *testing.F)    { fuzzCodec(f, "superblock") }
func FuzzJournalHeader(f *testing.F) { fuzzCodec(f, "journal header") }
func FuzzIntent(f *testing.F)        { fuzzCodec(f, "intent") }
func FuzzPair(f *testing.F)          { fuzzCodec(f, "pair") }
func FuzzCatalog(f *testing.F)       { fuzzCodec(f, "catalog") }

func FuzzRecord(f *testing.F) {
	for _, p := range sampleRecords() {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := bytes.Clone(in)
		if len(p) >= recordHead && len(p) <= maxRecord {
			binary.LittleEndian.PutUint32(p[4:], uint32(len(p)))
			binary.LittleEndian.PutUint64(p[8:], 4096)
			_, sum := recordSum(p, 7)
			binary.LittleEndian.PutUint32(p, sum)
		}
		v, err := decodeRecord(p)
		if err == nil && !bytes.Equal(encodeRecord(v), p) {
			t.Fatal("encoding what was decoded differs")
		}
	})
}

// FuzzPayload gives every payload's decoder the same bytes.
func FuzzPayload(f *testing.F) {
	for _, p := range sampleRecords() {
		f.Add(p[recordHead:])
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for kind := recordWrite; kind <= recordLoad; kind++ {
			v, err := decodePayload(kind, p)
			if err != nil {
				continue
			}
			again := bytes.Repeat([]byte{0xff}, len(p))
			encodePayload(v, again)
			if !bytes.Equal(again, p) {
				t.Fatalf("%v: encoding what was decoded differs", kind)
			}
		}
	})
}
