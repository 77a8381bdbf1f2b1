package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

// sameBoot and otherBoot say under which kernel the journal is opened again; the content of the
// file is what the table's damage makes of it.
const (
	sameBoot = iota
	otherBoot
)

// offsetOf returns the byte of the file at which the record with a sequence number begins.
func (l *log) offsetOf(s sequence) int {
	at := l.from.pos
	if i := s - l.first; i > 1 {
		at = l.ends[s-2]
	}
	return int(areaOffset(nextRecord(at, testArea), testArea))
}

// The recovery table: ten records, the first five of them flushed (and promised so by a second
// flush, which the header needs to know), then damage, then the next process.
func TestRecovery(t *testing.T) {
	header := func(copy int, edit func(p []byte)) func(*log, []byte) {
		return func(_ *log, p []byte) {
			edit(p[copy*journalHeaderGap:][:journalHeaderLen])
		}
	}
	flip := func(off int) func(p []byte) { return func(p []byte) { p[off] ^= 0x10 } }
	tail := func(edit func(p []byte)) func(*log, []byte) {
		return func(_ *log, p []byte) { edit(p[journalTailWord:][:8]) }
	}
	record := func(s sequence, off int) func(*log, []byte) {
		return func(l *log, p []byte) { p[l.offsetOf(s)+off] ^= 1 }
	}
	for _, c := range []struct {
		name   string
		boot   int
		damage func(l *log, p []byte)
		end    sequence
		err    error
	}{
		{"killed", sameBoot, nil, 10, nil},
		{"power cut", otherBoot, nil, 5, nil},

		{"killed; last record damaged", sameBoot, record(10, 50), 0, ErrCorrupt},
		{"killed; first record damaged", sameBoot, record(1, 0), 0, ErrCorrupt},
		{"killed; length of a record damaged", sameBoot, record(7, 4), 0, ErrCorrupt},
		{"killed; tail word damaged", sameBoot, tail(flip(0)), 0, ErrCorrupt},
		{"killed; tail word's sum damaged", sameBoot, tail(flip(7)), 0, ErrCorrupt},
		{"killed; tail word wiped", sameBoot, tail(func(p []byte) { clear(p) }), 0, ErrCorrupt},
		{"killed; tail word of far ahead", sameBoot, tailWordAt(1 << 30), 0, ErrCorrupt},
		{"killed; tail word of the past", sameBoot, tailWordAt(1<<51 - 8), 0, ErrCorrupt},
		{"killed before the last tail word", sameBoot, func(l *log, p []byte) {
			binary.LittleEndian.PutUint64(p[journalTailWord:], tailWord(l.ends[8]))
		}, 10, nil},

		{"power cut; tail word damaged", otherBoot, tail(flip(0)), 5, nil},
		{"power cut; unproven record lost", otherBoot, record(6, 30), 5, nil},
		{"power cut; proven record damaged", otherBoot, record(3, 30), 0, ErrCorrupt},
		{"power cut; last proven record's data damaged", otherBoot, record(5, 8), 0, ErrCorrupt},

		{"older header damaged, killed", sameBoot, header(0, flip(100)), 10, nil},
		{"newer header damaged, killed", sameBoot, header(1, flip(100)), 10, nil},
		{"older header damaged, power cut", otherBoot, header(0, flip(100)), 5, nil},
		{"newer header damaged, power cut", otherBoot, header(1, flip(100)), 5, nil},
		{"header without magic", sameBoot, header(0, flip(0)), 10, nil},
		{"header: version damaged", sameBoot, header(1, flip(8)), 10, nil},
		{"both headers damaged", sameBoot, func(_ *log, p []byte) { p[99], p[4096+99] = 1, 1 }, 0, ErrCorrupt},
		{"no headers", sameBoot, func(_ *log, p []byte) { p[0], p[4096] = 0, 0 }, 0, ErrNotVolume},
		{"one header of another version", sameBoot, header(1, func(p []byte) {
			binary.LittleEndian.PutUint32(p[8:], 2)
			binary.LittleEndian.PutUint32(p[12:], headerSum(p, saltJournal))
		}), 0, ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog(t, 1)
			for range 5 {
				l.append()
			}
			l.flush()
			l.flush()
			for range 5 {
				l.append()
			}
			l.must(l.j.sync())
			kind := disktest.Kill
			if c.boot == otherBoot {
				kind = disktest.PowerCut
			}
			k := l.cut(kind)
			if c.damage != nil {
				k.d.Damage(journalName, func(p []byte) { c.damage(k, p) })
			}
			got, err := k.tryReopen()
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !slices.Equal(got, k.upTo(c.end)) {
				t.Fatalf("replayed %v, want up to %d", got, c.end)
			}
		})
	}
}

func tailWordAt(p position) func(*log, []byte) {
	return func(_ *log, file []byte) { binary.LittleEndian.PutUint64(file[journalTailWord:], tailWord(p)) }
}

// A flipped byte anywhere in the journal file is an error, or changes nothing that is replayed.
func TestRecoveryFlipEveryByte(t *testing.T) {
	l := newLog(t, 1)
	for range 6 {
		l.append()
	}
	l.flush()
	l.flush()
	k := l.cut(disktest.Kill)
	from, to := l.offsetOf(1), int(areaOffset(l.j.tail(), testArea))
	flip := func(i int) (accepted bool) {
		c := k.cut(disktest.Kill)
		defer c.d.Close()
		c.d.Damage(journalName, func(p []byte) { p[i] ^= 0x40 })
		got, err := c.tryReopen()
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if err == nil && !slices.Equal(got, l.upTo(6)) {
			t.Fatalf("byte %d: replayed %v", i, got)
		}
		return err == nil
	}
	for i := from; i < to; i++ {
		if flip(i) {
			t.Fatalf("byte %d of the records is not guarded", i)
		}
	}
	for i := journalTailWord; i < journalTailWord+8; i++ {
		if flip(i) {
			t.Fatalf("byte %d of the tail word is not guarded", i)
		}
	}
	for _, i := range []int{0, 8, 12, 50, 511, 512, 4095, 4096, 4200, 8191, 8200, 12287, to, to + 100} {
		if !flip(i) {
			t.Fatalf("byte %d: one damaged header, or an unused byte, is not survived", i)
		}
	}
}

// A process that dies at any store of an append leaves the record whole or not at all.
func TestKilledMidAppend(t *testing.T) {
	l := newLog(t, 1)
	for range 3 {
		l.append()
	}
	before := bytes.Clone(l.j.mem)
	l.append()
	after := bytes.Clone(l.j.mem)
	var changed []int
	for i := range after {
		if before[i] != after[i] {
			changed = append(changed, i)
		}
	}
	for _, order := range []string{"payload first", "header first", "tail word first"} {
		stores := slices.Clone(changed)
		switch order {
		case "payload first": // as reserve and seal do it
			slices.SortFunc(stores, func(a, b int) int { return storeRank(l, a) - storeRank(l, b) })
		case "header first":
			slices.Sort(stores)
			stores = stores[8:] // all but the tail word
		case "tail word first":
			stores = stores[:0] // nothing but it: the one order that must be an error
		}
		image := bytes.Clone(before)
		for _, i := range stores {
			image[i] = after[i]
			if i >= journalTailWord && i < journalTailWord+8 {
				copy(image[journalTailWord:], after[journalTailWord:journalTailWord+8]) // one store
			}
			got, err := replayImage(l, image)
			if err != nil || len(got) < 3 || len(got) > 4 {
				t.Fatalf("%s, up to byte %d: %v, %v", order, i, got, err)
			}
		}
	}
	copy(before[journalTailWord:], after[journalTailWord:journalTailWord+8])
	if _, err := replayImage(l, before); !errors.Is(err, ErrCorrupt) {
		t.Fatal("a tail word without its record:", err)
	}
}

// storeRank orders the stores of an append: payload, header, tail word.
func storeRank(l *log, off int) int {
	head := l.offsetOf(4)
	switch {
	case off < journalArea:
		return 1 << 30
	case off < head+recordHead:
		return 1<<29 + off
	}
	return off
}

// replayImage replays a journal whose file holds an image, under the same kernel.
func replayImage(l *log, image []byte) ([]sequence, error) {
	k := l.cut(disktest.Kill)
	defer k.d.Close()
	k.d.Damage(journalName, func(p []byte) { copy(p[journalTailWord:], image[journalTailWord:]) })
	return k.tryReopen()
}

// What an earlier process appended and a power cut dropped is not taken for what the next one
// appends, although it lies in the same place and continues the same chain.
func TestDroppedTailStaysDropped(t *testing.T) {
	for seed := range uint64(100) {
		l := newLog(t, seed)
		l.append()
		l.flush()
		l.flush()
		for range 6 {
			l.append()
		}
		l.must(l.j.sync()) // the records are on the disk, but not proven
		p := l.cut(disktest.PowerCut)
		if got := p.reopen(); !slices.Equal(got, l.upTo(1)) {
			t.Fatal(got)
		}
		// The next process gets somewhere: as far as header, mapped memory or beyond.
		p.d.FailAt(p.d.Ops()+1+int(seed%12), unix.EIO)
		if p.j.begin(p.d.BootID()) == nil {
			p.seq, p.ends = 1, p.ends[:1]
			for range seed % 3 {
				p.append()
			}
		}
		q := p.cut(disktest.PowerCut)
		if got := q.reopen(); !slices.Equal(got, l.upTo(1)) {
			t.Fatalf("seed %d: %v", seed, got)
		}
		k := p.cut(disktest.Kill)
		if got := k.reopen(); !slices.Equal(got, l.upTo(1+max(p.seq, 1)-1)) && len(got) != 1 {
			t.Fatalf("seed %d, killed: %v", seed, got)
		}
		for _, x := range []*log{l, p, q, k} {
			x.d.Close()
		}
	}
}

// A record of an earlier lap lies where the next one goes; it is whole, but of another position.
func TestRecordsOfAnEarlierLap(t *testing.T) {
	l := newLog(t, 1)
	for l.tryAppend() == nil {
	}
	l.snapshot()
	for range 200 {
		l.append()
		if l.j.used() > testArea/2 {
			l.snapshot()
		}
		k := l.cut(disktest.Kill)
		if got := k.reopen(); !slices.Equal(got, l.upTo(l.seq)) {
			t.Fatalf("%v, want up to %d", got, l.seq)
		}
		k.d.Close()
	}
}

// A boot id that cannot be read is like that of another kernel: nothing unproven is believed.
func TestUnknownBootID(t *testing.T) {
	if parseBootID("").same(parseBootID("")) || parseBootID("x").same(parseBootID("x")) {
		t.Fatal("unknown is the same as unknown")
	}
	if id := "0b4ed8a6-1f0c-4f9c-9d5c-2f2f6f7f8f90"; !parseBootID(id).same(parseBootID(id)) {
		t.Fatal("a boot id differs from itself")
	}
}

// A snapshot that does not belong to this journal is not replayed onto.
func TestForeignStart(t *testing.T) {
	l := newLog(t, 1)
	for range 4 {
		l.append()
	}
	for name, edit := range map[string]func(s *journalStart){
		"newer incarnation":  func(s *journalStart) { s.incarnation += 5 },
		"older, behind":      func(s *journalStart) { s.incarnation--; s.pos = l.ends[1] },
		"another chain":      func(s *journalStart) { s.chain++ },
		"inside a record":    func(s *journalStart) { *s = l.j.start(); s.pos = l.ends[1] + 8 },
		"far in the future":  func(s *journalStart) { *s = l.j.start(); s.pos += 1 << 40 },
		"chain of elsewhere": func(s *journalStart) { *s = l.j.start(); s.pos = l.ends[1] },
	} {
		k := l.cut(disktest.Kill)
		edit(&k.from)
		if _, err := k.tryReopen(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A sector that cannot be read is an error of that sector, not of the journal.
func TestReplayReadError(t *testing.T) {
	l := newLog(t, 1)
	l.append()
	k := l.cut(disktest.Kill)
	for i := 1; ; i++ {
		c := k.cut(disktest.Kill)
		c.d.FailReadAt(i, unix.EIO)
		_, err := c.tryReopen()
		if err == nil {
			if i < 4 {
				t.Fatalf("only %d reads", i-1)
			}
			return
		}
		if !errors.Is(err, unix.EIO) || errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
}

// A length that leads out of the area is damage like any other.
func TestRecordLengthLeavesTheArea(t *testing.T) {
	l := newLog(t, 1)
	for l.j.used() < testArea*3/4 {
		l.append()
	}
	l.snapshot()
	for uint64(l.j.tail())%testArea < testArea-2*1500 {
		l.append()
	}
	l.append()
	k := l.cut(disktest.Kill)
	k.d.Damage(journalName, func(p []byte) {
		binary.LittleEndian.PutUint32(p[l.offsetOf(l.seq)+4:], maxRecord)
	})
	if _, err := k.tryReopen(); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// The header's chain value is that of the records: a header of another history does not pass.
func TestHeaderOfAnotherChain(t *testing.T) {
	l := newLog(t, 1)
	l.append()
	k := l.cut(disktest.Kill)
	k.reopen()
	k.must(k.j.begin(k.d.BootID())) // now there are records before the incarnation's start
	k = k.cut(disktest.Kill)
	k.d.Damage(journalName, func(p []byte) {
		for _, h := range [][]byte{p[:journalHeaderLen], p[journalHeaderGap:][:journalHeaderLen]} {
			h[jhStartChain] ^= 1
			sealHeader(h, magicJournal, saltJournal)
		}
	})
	if _, err := k.tryReopen(); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}
