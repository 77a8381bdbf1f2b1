package checkpoint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// lives plays processes that append, flush and take snapshots, and cuts the disk after every
// operation. It checks of each cut: after a kill all that was appended is there; after a power
// cut all that was flushed, and of the rest a beginning that the data would allow.
type lives struct {
	*log
	rng     *rand.Rand
	flushed sequence // promised
	proving sequence // promised if the flush under way succeeds
}

func TestJournalLives(t *testing.T) {
	seeds := uint64(25)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		v := &lives{log: newLog(t, seed), rng: rand.New(rand.NewPCG(seed, 1))}
		for range 6 {
			v.live()
			v.die(seed)
		}
		v.d.Close()
	}
}

// live is one process: it has begun the journal already.
func (v *lives) live() {
	v.d.Hook(func(int) { v.check() })
	for range v.rng.IntN(25) {
		switch v.rng.IntN(10) {
		case 0, 1:
			v.promise(v.flush)
		case 2:
			v.promise(v.snapshot)
		case 3:
			v.must(v.j.sync())
		default:
			if v.tryAppend() != nil {
				v.promise(v.snapshot)
			}
		}
	}
	v.d.Hook(nil)
}

// promise flushes what was appended.
func (v *lives) promise(flush func()) {
	v.proving = v.seq
	flush()
	v.flushed = v.seq
}

// die ends the process and begins the next.
func (v *lives) die(seed uint64) {
	kind := disktest.Kind(v.rng.IntN(2))
	if v.rng.IntN(4) == 0 {
		v.promise(v.flush) // what close relies on
		v.must(v.j.close(true))
	}
	old := v.d
	v.log = v.cut(kind)
	old.Close()
	got := v.reopen()
	if err := v.judge(kind, got); err != nil {
		v.t.Fatalf("seed %d, %v: %v", seed, kind, err)
	}
	v.seq = v.first + sequence(len(got))
	v.ends = v.ends[:v.seq]
	v.promise(func() {
		v.d.Hook(func(int) { v.check() })
		v.must(v.j.begin(v.d.BootID()))
		v.d.Hook(nil)
	})
}

// check cuts the disk both ways and replays.
func (v *lives) check() {
	for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
		c := v.cut(kind)
		got, err := c.tryReopen()
		if err == nil {
			err = v.judge(kind, got)
		}
		if err != nil {
			v.t.Fatalf("operation %d, cut %d: %v", v.d.Ops(), kind, err)
		}
		c.d.Close()
	}
}

func (v *lives) judge(kind disktest.Kind, got []sequence) error {
	n := v.first + sequence(len(got))
	switch {
	case !slices.Equal(got, v.upTo(n)):
		return fmt.Errorf("not in order: %v", got)
	case kind == disktest.Kill && n != v.seq:
		return fmt.Errorf("replayed up to %d of %d", n, v.seq)
	case n < v.flushed:
		return fmt.Errorf("lost flushed records: %d of %d", n, v.flushed)
	case kind == disktest.PowerCut && n > max(v.flushed, v.proving, v.first):
		return fmt.Errorf("believes %d records, %d were proven", n, max(v.flushed, v.proving))
	}
	return nil
}

// A power cut at any moment of begin, after a power cut, loses nothing: the proven record that
// says where the journal ends must not go before the header says it.
func TestPowerCutDuringBegin(t *testing.T) {
	for seed := range uint64(150) {
		l := newLog(t, seed)
		for range 5 {
			l.append()
		}
		l.flush()
		l.append()
		p := l.cut(disktest.PowerCut)
		p.reopen()
		p.d.Hook(func(int) {
			for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
				c := p.cut(kind)
				if got, err := c.tryReopen(); err != nil || !slices.Equal(got, l.upTo(5)) {
					t.Fatalf("seed %d: %v, %v", seed, got, err)
				}
				c.d.Close()
			}
		})
		p.must(p.j.begin(p.d.BootID()))
		p.d.Close()
		l.d.Close()
	}
}

// Every operation of a journal's life fails once: the error comes out, and what was promised
// before is there.
func TestJournalEveryOperationFails(t *testing.T) {
	eio := errors.New("i/o error")
	for op := 1; ; op++ {
		l := newLog(t, uint64(op))
		l.d.FailAt(l.d.Ops()+op, eio)
		var flushed sequence
		life := func() error {
			for range 4 {
				if err := l.tryAppend(); err != nil {
					return err
				}
				if err := errors.Join(l.j.prove(proof{pos: l.j.tail()}), l.j.sync()); err != nil {
					return err
				}
				flushed = l.seq
			}
			return l.j.close(true)
		}
		err := life()
		p := l.cut(disktest.PowerCut)
		if got := p.reopen(); len(got) < int(flushed) {
			t.Fatalf("operation %d: %v after %d were flushed", op, got, flushed)
		}
		p.d.Close()
		l.d.Close()
		if err == nil {
			if op < 8 {
				t.Fatalf("only %d operations", op)
			}
			return
		}
		if !errors.Is(err, eio) {
			t.Fatalf("operation %d: %v", op, err)
		}
	}
}

// Both copies of the header name an incarnation before a record of it exists: whichever copy is
// damaged, the journal does not end where the incarnation began.
func TestEitherHeaderKnowsTheIncarnation(t *testing.T) {
	for copy := range 2 {
		l := newLog(t, 1)
		for range 3 {
			l.append()
		}
		k := l.cut(disktest.Kill)
		k.d.Damage(journalName, func(p []byte) { p[copy*journalHeaderGap+jhIncarn] ^= 1 })
		if got := k.reopen(); !slices.Equal(got, l.upTo(3)) {
			t.Fatalf("copy %d: %v", copy, got)
		}
	}
}

// While one copy of the header may be on its way to the disk, the other is not written.
func TestOneHeaderOnItsWay(t *testing.T) {
	l := newLog(t, 1)
	l.append()
	l.flush() // the next proof has something to tell
	l.append()
	during := false
	l.d.Hook(func(int) {
		if during {
			during = false
			l.must(l.j.prove(proof{pos: l.j.tail()}))
		}
	})
	before := l.j.hdr.sequence
	during = true
	l.must(l.j.sync()) // began before the header that is written meanwhile
	l.j.sawSuperblock(5)
	if got := l.j.hdr.sequence; got != before+1 {
		t.Fatalf("header %d, want %d: two of them are on their way", got, before+1)
	}
	l.must(l.j.sync())
	l.append()
	l.flush()
	if got := l.j.hdr.sequence; got != before+2 {
		t.Fatalf("header %d, want %d", got, before+2)
	}
}
