package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

// testArea is the smallest area.
const testArea = minJournalArea

// log is a journal on a fake disk, with a ledger of what was appended and promised.
type log struct {
	t     *testing.T
	d     fakeFS
	j     *journal
	from  journalStart // what the catalog would say
	seq   sequence     // of the last record appended
	ends  []position   // of each record appended, by sequence-1
	first sequence     // the first one behind from
}

// newLog returns a new journal, opened and begun.
func newLog(t *testing.T, seed uint64) *log {
	t.Helper()
	l := &log{t: t, d: fakeFS{disktest.New(seed)}}
	t.Cleanup(l.d.Close)
	f, err := l.d.Create(journalName)
	l.must(err)
	l.from, err = createJournal(f, journalArea+testArea, sampleID, l.d.BootID())
	l.must(errors.Join(err, f.Close(), l.d.SyncDir()))
	l.reopen()
	l.must(l.j.begin(l.d.BootID()))
	return l
}

func (l *log) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// reopen opens the journal and replays it; it returns the sequence numbers that came.
func (l *log) reopen() []sequence {
	l.t.Helper()
	seqs, err := l.tryReopen()
	l.must(err)
	return seqs
}

func (l *log) tryReopen() (seqs []sequence, err error) {
	f, err := l.d.Open(journalName, 0)
	if err != nil {
		return nil, err
	}
	if l.j, err = openJournal(f, sampleID); err != nil {
		return nil, err
	}
	err = l.j.replay(l.from, l.d.BootID(), func(h recordHeader, p []byte) error {
		if want := testPayload(h.seq); len(p) != roundUp8(want) || h.kind != recordWrite || h.line != 3 {
			return fmt.Errorf("record %d: %v of %d bytes", h.seq, h.kind, len(p))
		}
		for i, b := range p {
			if b != byte(h.seq) && i < testPayload(h.seq) {
				return fmt.Errorf("record %d holds %d", h.seq, b)
			}
		}
		seqs = append(seqs, h.seq)
		return nil
	})
	return seqs, err
}

// testPayload makes records of many lengths.
func testPayload(s sequence) int { return int(s*s*37) % 1500 }

// append appends one record.
func (l *log) append() {
	l.t.Helper()
	l.must(l.tryAppend())
}

func (l *log) tryAppend() error {
	p, err := l.j.reserve(testPayload(l.seq+1), false)
	if err != nil {
		return err
	}
	l.seq++
	for i := range p {
		p[i] = byte(l.seq)
	}
	l.ends = append(l.ends, l.j.seal(recordWrite, l.seq, 3, 1))
	return nil
}

// flush promises everything appended.
func (l *log) flush() {
	l.t.Helper()
	l.must(errors.Join(l.j.prove(proof{pos: l.j.tail()}), l.j.sync()))
}

// snapshot makes replay begin here.
func (l *log) snapshot() {
	l.flush()
	l.from = l.j.start()
	l.j.release(l.from.pos)
	l.first = l.seq
}

// cut continues the ledger on a cut of the disk.
func (l *log) cut(kind disktest.Kind) *log {
	c := *l
	c.d = fakeFS{l.d.Cut(kind)}
	c.ends = slices.Clone(l.ends)
	l.t.Cleanup(c.d.Close)
	return &c
}

// upTo is what replay must yield if the last record is s.
func (l *log) upTo(s sequence) (seqs []sequence) {
	for i := l.first + 1; i <= s; i++ {
		seqs = append(seqs, i)
	}
	return seqs
}

func TestJournalKeepsEverythingAcrossAKill(t *testing.T) {
	l := newLog(t, 1)
	for range 20 {
		l.append()
		k := l.cut(disktest.Kill)
		if got := k.reopen(); !slices.Equal(got, l.upTo(l.seq)) {
			t.Fatalf("replayed %v of %d", got, l.seq)
		}
		k.must(k.j.begin(k.d.BootID()))
		k.append()
		k = k.cut(disktest.Kill)
		if got := k.reopen(); len(got) != int(l.seq)+1 {
			t.Fatalf("after another life: %v", got)
		}
	}
}

func TestJournalCleanClose(t *testing.T) {
	l := newLog(t, 1)
	for range 5 {
		l.append()
	}
	l.must(l.j.close(true))
	for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
		if got := l.cut(kind).reopen(); !slices.Equal(got, l.upTo(5)) {
			t.Fatal(kind, got)
		}
	}
}

// The journal wraps many times; records of every lap have other lengths, so that each lap ends
// elsewhere: with a pad, with less than a header, and exactly.
func TestJournalWraps(t *testing.T) {
	l := newLog(t, 2)
	for lap := 0; l.j.tail() < 20*testArea; lap++ {
		for l.tryAppend() == nil {
		}
		if got := l.cut(disktest.Kill).reopen(); !slices.Equal(got, l.upTo(l.seq)) {
			t.Fatalf("lap %d: replayed %d of %d", lap, len(got), l.seq-l.first)
		}
		l.snapshot()
		if got := l.cut(disktest.PowerCut).reopen(); len(got) != 0 {
			t.Fatalf("lap %d: replayed %d records after a snapshot", lap, len(got))
		}
	}
}

// Each way in which a lap can end.
func TestJournalLapEnds(t *testing.T) {
	for left := 0; left <= 3*recordHead; left += 8 {
		l := newLog(t, 3)
		fillTo := func(n uint64) {
			for l.j.room()-l.j.used() > n {
				want := min(l.j.room()-l.j.used()-n, maxRecord)
				if rest := l.j.room() - l.j.used() - n - want; rest > 0 && rest < recordHead {
					want -= recordHead
				}
				_, err := l.j.reserveUpTo(l.j.room(), int(want)-recordHead)
				l.must(err)
				l.j.seal(recordResize, 0, 0, 0)
			}
		}
		fillTo(uint64(left))
		l.flush2()
		l.from = l.j.start()
		l.j.release(l.from.pos)
		l.first, l.seq = 0, 0
		for range 3 {
			l.append()
		}
		if got := l.cut(disktest.Kill).reopen(); !slices.Equal(got, l.upTo(3)) {
			t.Fatalf("%d bytes left: %v", left, got)
		}
		l.flush()
		if got := l.cut(disktest.PowerCut).reopen(); !slices.Equal(got, l.upTo(3)) {
			t.Fatalf("%d bytes left, power cut: %v", left, got)
		}
	}
}

// flush2 makes the journal durable without a record.
func (l *log) flush2() { l.must(l.j.sync()) }

func TestJournalFull(t *testing.T) {
	l := newLog(t, 4)
	for l.tryAppend() == nil {
	}
	if !errors.Is(l.tryAppend(), errJournalFull) || l.j.fits(recordHead+testPayload(l.seq+1)) {
		t.Fatal("not full")
	}
	if used := l.j.used(); used < testArea*3/4 || used > testArea*7/8 {
		t.Fatalf("full at %d of %d", used, testArea)
	}
	// The control reserve still takes what leads out of it.
	l.flush()
	if _, err := l.j.reserve(100, true); err != nil {
		t.Fatal(err)
	}
	l.snapshot()
	l.append()
	for err := error(nil); err == nil; {
		if err = l.j.prove(proof{pos: l.j.tail()}); err != nil && !errors.Is(err, errJournalFull) {
			t.Fatal(err)
		}
	}
	if l.j.used() > testArea {
		t.Fatal("overfull")
	}
	if got := l.cut(disktest.Kill).reopen(); !slices.Equal(got, l.upTo(l.seq)) {
		t.Fatal(got)
	}
}

// What fits says yes to can be reserved, wherever the lap ends.
func TestJournalFits(t *testing.T) {
	l := newLog(t, 5)
	for range 3000 {
		n := 0
		for s := l.seq + 1; s <= l.seq+5; s++ {
			n += recordHead + roundUp8(testPayload(s))
		}
		if !l.j.fits(n) {
			l.snapshot()
			continue
		}
		for range 5 {
			l.append()
		}
	}
}

func TestJournalAbandonedReserve(t *testing.T) {
	l := newLog(t, 6)
	l.append()
	_, err := l.j.reserve(1000, false)
	l.must(err)
	if got := l.cut(disktest.Kill).reopen(); len(got) != 1 {
		t.Fatal(got)
	}
	l.append()
	if got := l.cut(disktest.Kill).reopen(); len(got) != 2 {
		t.Fatal(got)
	}
}

func TestJournalFailedSyncIsSticky(t *testing.T) {
	l := newLog(t, 7)
	l.append()
	l.d.FailAt(l.d.Ops()+1, unix.EIO)
	if err := l.j.sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	n := l.d.Ops()
	_, reserve := l.j.reserve(8, true)
	for _, err := range []error{l.j.sync(), reserve, l.j.prove(proof{}), l.j.close(true)} {
		if !errors.Is(err, ErrPoisoned) {
			t.Fatal(err)
		}
	}
	if l.d.Ops() != n {
		t.Fatal("a failed sync was tried again")
	}
}

// After a failed sync the page cache holds records that the disk does not, and the kernel takes
// them for written. The next process must not build on them before they are.
func TestJournalRewritesAfterAFailedSync(t *testing.T) {
	for seed := range uint64(60) {
		l := newLog(t, seed)
		for range 8 {
			l.append()
		}
		l.d.FailAt(l.d.Ops()+1, unix.EIO)
		if l.j.sync() == nil {
			t.Fatal("sync succeeded")
		}
		k := l.cut(disktest.Kill)
		k.reopen()
		k.must(k.j.begin(k.d.BootID()))
		p := k.cut(disktest.PowerCut)
		if got := p.reopen(); !slices.Equal(got, l.upTo(8)) {
			t.Fatalf("seed %d: %v", seed, got)
		}
		k.d.Close()
		l.d.Close()
	}
}

func TestJournalOfAnotherVolume(t *testing.T) {
	l := newLog(t, 8)
	f, err := l.d.Open(journalName, 0)
	l.must(err)
	if _, err := openJournal(f, [16]byte{1}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	l.must(f.Truncate(journalArea + testArea + 4096))
	if _, err := openJournal(f, sampleID); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestJournalNotesSuperblock(t *testing.T) {
	l := newLog(t, 9)
	l.j.sawSuperblock(41)
	l.must(l.j.sync())
	l.append()
	l.flush()
	p := l.cut(disktest.PowerCut)
	p.reopen()
	if got := p.j.superblockSeen(); got != 41 {
		t.Fatal(got)
	}
}

func TestJournalSizes(t *testing.T) {
	d := fakeFS{disktest.New(1)}
	for i, size := range []int64{0, -1, journalArea, journalArea + testArea - 1, maxJournalArea * 2} {
		f, err := d.Create(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := createJournal(f, size, sampleID, d.BootID()); !errors.Is(err, ErrTooMany) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	d.SetCapacity(1 << 16)
	f, _ := d.Create("full")
	if _, err := createJournal(f, journalArea+testArea, sampleID, d.BootID()); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
}

func TestJournalAppendAllocatesNothing(t *testing.T) {
	l := newLog(t, 10)
	n := testing.AllocsPerRun(1000, func() {
		if l.j.used() > testArea/2 {
			l.j.release(l.j.tail())
		}
		p, err := l.j.reserve(72, false)
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint64(p, 1)
		l.j.seal(recordWrite, 1, 1, 1)
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestTailWord(t *testing.T) {
	for _, base := range []position{0, 8, 1 << 40, 1<<51 - 8, 1 << 51, 5<<51 + 4096} {
		for _, ahead := range []position{0, 8, 4096, testArea} {
			got, ok := tailPosition(tailWord(base+ahead), base)
			if !ok || got != base+ahead {
				t.Errorf("%d + %d: %d, %v", base, ahead, got, ok)
			}
		}
	}
	word := tailWord(123456)
	for bit := range 64 {
		if _, ok := tailPosition(word^1<<bit, 0); ok {
			t.Errorf("bit %d flipped is not detected", bit)
		}
	}
	if _, ok := tailPosition(0, 0); ok {
		t.Error("zero is a tail word")
	}
}

func BenchmarkJournalAppend(b *testing.B) {
	d := fakeFS{disktest.New(1)}
	defer d.Close()
	f, _ := d.Create(journalName)
	from, _ := createJournal(f, journalArea+1<<20, sampleID, d.BootID())
	j, _ := openJournal(f, sampleID)
	if err := j.replay(from, d.BootID(), nil); err != nil {
		b.Fatal(err)
	}
	if err := j.begin(d.BootID()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if j.used() > 1<<19 {
			j.release(j.tail())
		}
		_, err := j.reserve(72, false)
		if err != nil {
			b.Fatal(err)
		}
		j.seal(recordWrite, 1, 1, 1)
	}
}

// TestRoomForProofs: control records filled the journal to its end, the next flush round could prove
// nothing, and the store stopped. Whatever the end of the lap looks like, two proofs have room.
func TestRoomForProofs(t *testing.T) {
	for skew := range 40 {
		l := newLog(t, 1)
		for range skew {
			l.append()
			l.must(l.j.prove(proof{pos: l.j.tail()}))
		}
		l.must(l.j.sync())
		l.j.release(l.j.tail())
		for {
			p, err := l.j.reserve(wordLen, true)
			if err == errJournalFull {
				break
			}
			l.must(err)
			clear(p)
			l.j.seal(recordRetire, 0, 0, 0)
		}
		for range 2 {
			l.must(l.j.prove(proof{pos: l.j.tail()}))
		}
	}
}
