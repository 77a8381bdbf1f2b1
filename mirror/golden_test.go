package mirror

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares bytes, as hex in lines of 16, with testdata/name.hex.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(strings.ToLower(name), " ", "-")+".hex")
	var text strings.Builder
	for i := 0; i < len(got); i += 16 {
		text.WriteString(hex.EncodeToString(got[i:min(i+16, len(got))]) + "\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("%s differs:\n got\n%swant\n%s", path, text.String(), want)
	}
}

// example is a frame of each kind.
type example struct {
	kind Kind
	disk int
	body body
	bulk []byte
}

func num(n uint64) *number { m := number(n); return &m }
func cause(c Cause) *Cause { return &c }

var (
	runA  = ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	markA = Mark{9, 41}
)

func examples() []example {
	content := make([]byte, 3*sector)
	for i := range content {
		content[i] = byte(i / 7)
	}
	list := []extent{
		{off: 4096, len: sector, sum: Checksum(content[:sector])},
		{off: 1 << 40, len: 1 << 41, zero: true},
		{off: 512, len: 2 * sector, sum: Checksum(content[sector:])},
	}
	return []example{
		{kind: kindWelcome, body: &empty{}},
		{kind: kindRefuse, body: &words{2, []byte("another pair")}},
		{kind: kindPing, body: &empty{}},
		{kind: kindCredit, body: num(1 << 33)},
		{kind: kindGiveUp, body: &words{uint16(TooSlow), []byte("too slow")}},
		{kind: kindHandOver, body: &words{uint16(Storage), []byte("I/O error")}},
		{kind: kindLeave, body: &words{uint16(Poisoned), []byte("no seal stands")}},
		{kind: kindData, disk: 1, body: &data{7, list}, bulk: content},
		{kind: kindSeal, body: &seal{7,
			[]RingDigest{{0, 0, 1 << 60}, {1, 3, 99}}, []Count{{3, 1536, 1 << 41}, {}}}},
		{kind: kindAck, body: num(7)},
		{kind: kindRingStart, body: num(7)},
		{kind: kindStartAck, body: num(7)},
		{kind: kindReport, body: &report{7, Base}},
		{kind: kindShutdown, body: cause(HostShutdown)},
		{kind: kindShutdownAck, body: &empty{}},
		{kind: kindRenew, body: &renew{9, 1500 * time.Millisecond}},
		{kind: kindRenewed, body: num(9)},
		{kind: kindSyncBegin, disk: 1, body: &SyncPlan{Run: runA, From: markA, Size: 1 << 30, All: 1 << 20}},
		{kind: kindSyncHave, disk: 1, body: &syncHave{runA, []Range{{0, 1 << 20}, {1 << 21, 512}}}},
		{kind: kindSyncData, disk: 1, body: &syncData{runA, list}, bulk: content},
		{kind: kindSyncEnd, disk: 1, body: &syncEnd{runA, 1 << 20}},
		{kind: kindSyncDone, disk: 1, body: &syncDone{runA, 1 << 20, true}},
		{kind: kindVerify, disk: 1, body: &verify{3, 1 << 20, Mark{9, Base}, Range{1 << 20, 1 << 22}}},
		{kind: kindSums, disk: 1, body: &sums{3, sumsOK, []Sum{{1, 2, 3}, {4, 5, 6}}}},
		{kind: kindDamaged, disk: 1, body: &Range{4096, 8192}},
	}
}

// encode is the whole frame, as the fifth of generation 3.
func (e example) encode() []byte {
	meta := e.body.encode(nil)
	h := header{e.kind, uint16(e.disk), uint32(len(meta)), uint32(len(e.bulk)), 3, 5}
	b := make([]byte, headerLen)
	h.encode(b, meta)
	return append(append(b, meta...), e.bulk...)
}

func exampleHello() Hello {
	return Hello{
		Role: Secondary, Was: Primary, Window: 8 << 20, Generation: 5, Name: "web",
		Disks: []DiskHello{{ID{0xd0}, ID{0xd1}, 1 << 30}, {ID{0xd2}, ID{}, 4096}},
		Marks: []Mark{markA, {9, Base}},
	}
}

func TestGolden(t *testing.T) {
	for _, e := range examples() {
		golden(t, e.kind.String(), e.encode())
	}
	h := exampleHello()
	golden(t, "hello", h.encode())
}
