package checkpoint

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares bytes with the hex dump testdata/name.hex.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	dump := []byte(hex.Dump(got))
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, dump, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(dump, want) {
		t.Errorf("%s differs; got:\n%s", path, dump)
	}
}

var sampleID = [16]byte{0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func sampleSuperblock() *superblock {
	return &superblock{
		id: sampleID, sequence: 6, generation: 3, created: 1763640000000000000, flags: flagChecksums, slack: 30,
		catalog: catalogRef{page: 17, bytes: 4711, gen: 5, crc: 0xcafe0001},
		base:    baseQcow2, baseSize: 1 << 30, basePath: "/images/base.qcow2", dataPath: "/dev/vdb",
	}
}

func sampleHeader() *journalHeader {
	return &journalHeader{
		id: sampleID, boot: bootID{0xb0, 1, 2, 3}, sequence: 8, incarnation: 4, startChain: 0x11223344,
		start: 4096, proven: 8192, end: 12288, clean: true, superblock: 6, area: minJournalArea,
	}
}

// sampleOpenHeader is that of a journal in use, with intents.
func sampleOpenHeader() *journalHeader {
	h := sampleHeader()
	h.clean, h.end, h.passed = false, 0, 17
	h.ring = intentRing{key: 0x1122334455667788, extent: extent{first: 512, n: 256}}
	return h
}

func sampleIntent() *intent {
	return &intent{number: 18, incarnation: 4, line: 2, epoch: 7,
		places: []placement{{block: 5, slot: 1000, n: 2}, {block: 1, slot: 7, n: 1}},
		sums:   []uint32{0x01020304, 0x05060708, 0x090a0b0c},
	}
}

func encodeIntent(i *intent) []byte {
	p := bytes.Repeat([]byte{0xff}, intentLen)
	i.encode(p, sampleID, sampleOpenHeader().ring.key)
	return p
}

func sampleCatalog() *catalog {
	at := func(page uint64) ref { return ref{page: page, gen: 2, crc: uint32(page) * 0x01010101} }
	return &catalog{
		gen: 5, start: journalStart{pos: 8200, chain: 0xdeadbeef, incarnation: 2},
		seq: 99, epoch: 7, line: 2, size: 1 << 30, slots: 4096, nextRun: 12, passed: 16,
		blocks: catalogArray{pages: 512, roots: []ref{at(3), {}}},
		refs:   catalogArray{pages: 1, roots: []ref{at(4)}},
		sums:   catalogArray{pages: 4, roots: []ref{at(5)}},
		points: []catalogPoint{
			{id: 2, line: 1, time: 1763640000000000001, size: 1 << 30, seq: 40,
				flags: pointRetired | pointKeep, name: "before"},
			{id: 6, line: 2, time: 1763640000000000002, size: 1 << 29, seq: 98},
		},
		branches: []branch{{id: 1}, {id: 2, from: 1, at: 2}},
		runs: []catalogRun{
			{id: 3, flags: runSweep, blocks: 10, full: at(6), head: at(7)},
			{id: 12, owner: 6, flags: runOpen, blocks: 1, head: at(8)},
		},
		free:     []pageExtent{{page: 9, n: 1}, {page: 20, n: 4}},
		mapPages: 64,
	}
}

func encodeHeader(h *journalHeader) []byte {
	p := make([]byte, journalHeaderLen)
	h.encode(p)
	return p
}

// sampleRecords returns every kind of record, whole, at position 4096 with chain 7.
func sampleRecords() map[string][]byte {
	payload := func(n int, fill func([]byte)) []byte {
		p := make([]byte, recordHead+n)
		fill(p[recordHead:])
		return p
	}
	word := func(v uint64) []byte { return payload(wordLen, func(p []byte) { putWord(p, v) }) }
	start := startRecord{id: 7, flags: pointKeep, time: 1763640000000000003, name: "nightly"}
	rollback := rollbackRecord{to: 2, left: 7, time: 1763640000000000004, line: 3}
	load := loadRecord{base: 6, first: 99, blocks: 103, start: start}
	load.start.flags = pointRetired
	sweep := sweepRecord{run: 3, count: 10}
	places := []placement{
		{block: 5, slot: 1000, n: 2}, {block: 9, slot: slotZero, n: 100}, {block: 1, slot: 7, n: 1},
	}
	sums := []uint32{0x01020304, 0x05060708, 0x090a0b0c}
	records := map[recordKind][]byte{
		recordWrite:    payload(writePayload(3, 3), func(p []byte) { encodeWrite(p, places, sums) }),
		recordProven:   payload(proof{4000, 17}.encodedLen(), proof{4000, 17}.encode),
		recordStart:    payload(start.encodedLen(), start.encode),
		recordRetire:   word(7),
		recordDelete:   word(2),
		recordSweep:    payload(sweepLen, sweep.encode),
		recordRollback: payload(rollbackLen, rollback.encode),
		recordResize:   word(1 << 31),
		recordPad:      payload(0, func([]byte) {}),
		recordStage:    payload(writePayload(3, 3), func(p []byte) { encodeWrite(p, places, sums) }),
		recordLoad:     payload(load.encodedLen(), load.encode),
	}
	named := map[string][]byte{"proven alone": word(4000)}
	seal := func(kind recordKind, p []byte) {
		h := recordHeader{
			length: uint32(len(p)), pos: 4096, seq: 100, incarnation: 2, kind: kind, line: 1, epoch: 7,
		}
		if kind == recordProven || kind == recordPad {
			h.seq, h.line, h.epoch = 0, 0, 0
		}
		h.encode(p, 7)
	}
	seal(recordProven, named["proven alone"])
	for kind, p := range records {
		seal(kind, p)
		named[kind.String()] = p
	}
	return named
}

func TestGolden(t *testing.T) {
	golden(t, "superblock-v1", encodeSuperblock(sampleSuperblock()))
	golden(t, "journal-header-v1", encodeHeader(sampleHeader()))
	golden(t, "journal-header-open-v1", encodeHeader(sampleOpenHeader()))
	golden(t, "intent-v1", encodeIntent(sampleIntent()))
	golden(t, "pair-v1", encodePair(samplePair()))
	golden(t, "catalog-v1", encodeCatalog(sampleCatalog()))
	for name, p := range sampleRecords() {
		golden(t, "record-"+strings.ReplaceAll(name, " ", "-")+"-v1", p)
	}
}
