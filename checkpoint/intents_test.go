package checkpoint

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/disktest"
)

// quickRig is a store on a disk that lies, with lanes that a test drives by hand.
type quickRig struct {
	t     *testing.T
	disk  *disktest.Disk
	s     *Store
	lanes []quickLane
}

type quickLane struct {
	bio.Lane
	eng  *disktest.Engine
	done []*bio.Request
}

var quickTuning = tuning{
	regionSlots: 16, growSlots: 64, minSlack: 1 << 10, unprovenBlocks: 1 << 20, intentSlots: 16,
}

func newQuickRig(t *testing.T, o CreateOptions, lanes int) *quickRig {
	t.Helper()
	return seededQuickRig(t, 1, o, lanes)
}

func seededQuickRig(t *testing.T, seed uint64, o CreateOptions, lanes int) *quickRig {
	t.Helper()
	r := &quickRig{t: t, disk: disktest.New(seed)}
	o.Size, o.JournalSize = 1<<20, journalArea+minJournalArea
	if err := CreateOn(fakeFS{r.disk}, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.leave(); r.disk.Close() })
	r.open(Options{}, lanes)
	return r
}

func (r *quickRig) open(o Options, lanes int) {
	r.t.Helper()
	o.ByHand, o.tuning = true, &quickTuning
	var err error
	if r.s, err = OpenOn(fakeFS{r.disk}, o); err != nil {
		r.t.Fatal(err)
	}
	r.lanes = nil
	for range lanes {
		eng := r.disk.NewEngine()
		lane, err := r.s.NewLane(4, eng)
		if err != nil {
			r.t.Fatal(err)
		}
		r.lanes = append(r.lanes, quickLane{Lane: lane, eng: eng})
	}
}

// leave is the end of the process.
func (r *quickRig) leave() {
	if r.s != nil {
		abandon(r.s)
		r.s = nil
	}
}

// die ends the process or the machine and opens the volume again.
func (r *quickRig) die(kind disktest.Kind, o Options) {
	r.t.Helper()
	next := r.disk.Cut(kind)
	r.leave()
	r.disk.Close()
	r.disk = next
	r.open(o, len(r.lanes))
}

// begin submits a request alone.
func (l *quickLane) begin(op bio.Op, p []byte, off int64, tag uint32) *bio.Request {
	q := &bio.Request{Op: op, Off: off, Len: int64(len(p)), Tag: tag}
	if op == bio.Write {
		q.Iov = []unix.Iovec{vectorOf(p)}
	}
	l.Submit(q)
	l.Dispatch()
	return q
}

// step completes one operation and settles. It reports whether there was one.
func (l *quickLane) step() bool {
	tag, res, ok := l.eng.Step()
	if ok {
		l.Complete(tag, res)
	}
	l.Wake()
	l.done = l.Settle(l.done)
	return ok
}

// finish completes a request, with background work if it needs any.
func (r *quickRig) finish(l *quickLane, q *bio.Request) {
	r.t.Helper()
	for range 100 {
		if slices.Contains(l.done, q) {
			if l.done = l.done[:0]; q.Err != nil {
				r.t.Fatal(q.Err)
			}
			return
		}
		if !l.step() && !r.s.flushOnce() {
			r.s.tendOnce()
		}
	}
	r.t.Fatal("a request does not end")
}

func (r *quickRig) write(p []byte, off int64) {
	r.t.Helper()
	r.finish(&r.lanes[0], r.lanes[0].begin(bio.Write, p, off, 0))
}

func (r *quickRig) flush() {
	r.t.Helper()
	r.finish(&r.lanes[0], r.lanes[0].begin(bio.Flush, nil, 0, 0))
}

// warm makes the store expect flushes.
func (r *quickRig) warm() {
	r.t.Helper()
	for range 2 {
		r.write(pattern(alignedBytes(blockSize), 999), 1<<20-blockSize)
		r.flush()
	}
	if r.s.stats.quick.Load() == 0 {
		r.t.Fatal("flushes are not quick")
	}
}

// wantQuick runs a flush and says which way it must go.
func (r *quickRig) wantQuick(want bool) {
	r.t.Helper()
	before := r.s.stats.quick.Load()
	r.flush()
	if got := r.s.stats.quick.Load() > before; got != want {
		r.t.Fatalf("quick flush: %v, want %v", got, want)
	}
}

// look has the verbs that look at a volume offline see what a power cut leaves.
func (r *quickRig) look() {
	r.t.Helper()
	cut := r.disk.Cut(disktest.PowerCut)
	defer cut.Close()
	wantNoFaults(r.t)(checkOn(context.Background(), fakeFS{cut}, nil))
	var out bytes.Buffer
	if err := dumpOn(fakeFS{cut}, &out, false); err != nil {
		r.t.Fatal(err)
	}
	for _, word := range []string{"\nring slot ", "\nintended block "} {
		if !bytes.Contains(out.Bytes(), []byte(word)) {
			r.t.Fatalf("the dump lacks %q:\n%s", word, &out)
		}
	}
	if n := cut.Ops(); n > 0 {
		r.t.Fatalf("%d operations changed what was looked at", n)
	}
}

func TestQuickFlushSurvivesPowerCut(t *testing.T) {
	for _, sums := range []bool{false, true} {
		for _, readOnly := range []bool{false, true} {
			r := newQuickRig(t, CreateOptions{Checksums: sums}, 1)
			r.warm()
			disk := make([]byte, 1<<20)
			for i := range 7 {
				p := pattern(alignedBytes(sectorSize*(1+3*i)), uint64(i))
				off := int64(i) * (3*blockSize + sectorSize)
				copy(disk[off:], p)
				r.write(p, off)
				r.wantQuick(true)
			}
			r.look()
			r.die(disktest.PowerCut, Options{ReadOnly: readOnly})
			wantAt(t, r.s, disk[:1<<19], 0)
			if n := r.s.stats.recalled.Load(); n == 0 {
				t.Fatal("nothing was found by intents")
			}
			if ops := r.disk.Ops(); readOnly != (ops == 0) {
				t.Fatalf("%d operations, read-only %v", ops, readOnly)
			}
			wantNoFaults(t)(r.s.Check(context.Background(), nil))
			r.die(disktest.PowerCut, Options{}) // what was recovered needs no intents any more
			if n := r.s.stats.recalled.Load(); n > 0 && !readOnly {
				t.Fatal("found by intents once more")
			}
			wantAt(t, r.s, disk[:1<<19], 0)
		}
	}
}

// The guest may change its memory while a write is under way: what is summed is what is written.
func TestIntentOfChangingMemory(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	r.warm()
	p := pattern(alignedBytes(2*blockSize), 1)
	was := bytes.Clone(p)
	q := r.lanes[0].begin(bio.Write, p, 0, 0)
	pattern(p, 2)
	r.finish(&r.lanes[0], q)
	r.wantQuick(true)
	r.die(disktest.PowerCut, Options{})
	wantAt(t, r.s, was, 0)
}

// What is not small, or not backed by an intent for another reason, takes a round; and so does
// whatever comes before the next proof.
func TestFlushNeedsRound(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	small := pattern(alignedBytes(blockSize), 1)
	for name, deed := range map[string]func(){
		"large write": func() { r.write(alignedBytes((intentBlocks+1)*blockSize), 0) },
		"discard":     func() { r.finish(&r.lanes[0], r.lanes[0].begin(bio.Discard, make([]byte, 8192), 0, 0)) },
		"point": func() {
			if _, err := r.s.Start("", false); err != nil {
				t.Fatal(err)
			}
		},
		"many writes": func() {
			for i := range int64(nearBatches + 1) {
				r.write(small, i*blockSize)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			for range 4 {
				r.write(small, 0)
				r.flush()
			}
			deed()
			r.write(small, 0)
			r.wantQuick(false)
			for range 4 { // it comes back
				r.write(small, 0)
				r.flush()
			}
			r.write(small, 0)
			r.wantQuick(true)
		})
	}
}

// A snapshot is a cut, too: writes whose intents it passed are in none of both if they are
// committed behind it.
func TestCommitBehindACut(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	r.warm()
	p := pattern(alignedBytes(blockSize), 1)
	q := r.lanes[0].begin(bio.Write, p, 0, 0)
	r.s.want.snapshot = true
	r.s.tendOnce()
	r.finish(&r.lanes[0], q)
	r.wantQuick(false)
	r.die(disktest.PowerCut, Options{})
	wantAt(t, r.s, p, 0)
}

// An intent that cannot be written costs a round, and nothing else.
func TestIntentFails(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	r.warm()
	failed := false
	for i := 1; !failed; i++ {
		r.disk.FailAt(r.disk.Ops()+1, unix.EIO) // the intent, or the data
		p := pattern(alignedBytes(blockSize), uint64(i))
		r.write(p, 0)
		failed = r.s.intents.off
		r.wantQuick(false)
		r.die(disktest.PowerCut, Options{})
		wantAt(t, r.s, p, 0)
		r.warm()
	}
}

// Several lanes' flushes share a sync: while one is under way, the others wait for the next.
func TestQuickFlushesShare(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 2)
	r.warm()
	r.write(pattern(alignedBytes(blockSize), 1), 0)
	a, b := &r.lanes[0], &r.lanes[1]
	first := a.begin(bio.Flush, nil, 0, 0)
	late := []*bio.Request{
		a.begin(bio.Flush, nil, 0, 1), b.begin(bio.Flush, nil, 0, 0), b.begin(bio.Flush, nil, 0, 1),
	}
	if n := a.eng.Pending() + b.eng.Pending(); n != 1 {
		t.Fatalf("%d syncs are under way", n)
	}
	for a.step() {
	}
	for b.step() {
	}
	for _, q := range append(late, first) {
		if !slices.Contains(a.done, q) && !slices.Contains(b.done, q) || q.Err != nil {
			t.Fatal("a flush was not answered:", q.Err)
		}
	}
	// Those that waited find that the first has covered everything.
	if n := r.s.stats.quick.Load(); n != 2 {
		t.Fatalf("%d quick flushes", n)
	}
}

// A sync that fails stops the store, whoever asked for it, and those that wait hear of it. What the
// kernel dropped and takes for written is not promised by whoever opens the volume next.
func TestQuickFlushFails(t *testing.T) {
	for seed := range uint64(30) {
		r := seededQuickRig(t, seed, CreateOptions{}, 2)
		r.warm()
		kept, lost := pattern(alignedBytes(blockSize), 1), pattern(alignedBytes(blockSize), 2)
		r.write(kept, 0)
		r.wantQuick(true)
		r.write(lost, blockSize)
		a, b := &r.lanes[0], &r.lanes[1]
		first := a.begin(bio.Flush, nil, 0, 0)
		late := b.begin(bio.Flush, nil, 0, 0)
		r.disk.FailAt(r.disk.Ops()+1, unix.EIO)
		for a.step() {
		}
		for b.step() {
		}
		if first.Err == nil || late.Err == nil || len(a.done) != 1 || len(b.done) != 1 {
			t.Fatalf("answered with %v and %v", first.Err, late.Err)
		}
		if r.s.poisoned() == nil {
			t.Fatal("the store goes on")
		}
		r.die(disktest.Kill, Options{})
		r.die(disktest.PowerCut, Options{})
		wantAt(t, r.s, kept, 0)
		p := make([]byte, blockSize)
		if _, err := r.s.ReadAt(p, blockSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, lost) && allZero(p) >= 0 {
			t.Fatalf("seed %d: the block shows what was never written to it", seed)
		}
	}
}

// A power cut at any moment of an opening that finds something by intents: the next one finds the
// same. (What says where the journal ends lies where the records of it go.)
func TestPowerCutDuringRecall(t *testing.T) {
	found := 0
	for seed := range uint64(40) {
		r := seededQuickRig(t, seed, CreateOptions{}, 1)
		r.warm()
		old, last := alignedBytes(blockSize), alignedBytes(blockSize)
		kept := alignedBytes((intentBlocks + 1) * blockSize)
		r.write(pattern(old, 1), blockSize) // with an intent, unlike what is written over it
		r.write(pattern(kept, 2), 0)
		r.wantQuick(false)
		r.s.intents.wanted.Store(true) // the only proof that passed it is the last one
		r.write(pattern(last, 3), 32*blockSize)
		r.wantQuick(true)
		verify := func(s *Store) {
			t.Helper()
			wantAt(t, s, kept, 0)
			wantAt(t, s, last, 32*blockSize)
		}
		verify(r.s)
		cut := r.disk.Cut(disktest.PowerCut)
		cut.Hook(func(int) {
			for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
				d := cut.Cut(kind)
				s, err := OpenOn(fakeFS{d}, Options{ByHand: true, tuning: &quickTuning})
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				verify(s)
				found += int(s.stats.recalled.Load())
				abandon(s)
				d.Close()
			}
		})
		s, err := OpenOn(fakeFS{cut}, Options{ByHand: true, tuning: &quickTuning})
		if err != nil {
			t.Fatal(err)
		}
		cut.Hook(nil)
		verify(s)
		abandon(s)
		cut.Close()
	}
	if found == 0 {
		t.Fatal("nothing was found by intents")
	}
}

// The ring goes round, with rounds in the background, and each incarnation has its own.
func TestRingGoesRound(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	disk := make([]byte, 64*blockSize)
	for i := range 300 {
		p := pattern(alignedBytes(blockSize), uint64(i))
		off := int64(i*7%64) * blockSize
		copy(disk[off:], p)
		r.write(p, off)
		r.flush()
		for i%3 == 0 && r.s.flushOnce() {
		}
		if i%37 == 0 {
			r.die(disktest.Kind(i/37%2), Options{})
			wantAt(t, r.s, disk, 0)
		}
	}
	if n := r.s.stats.quick.Load(); n == 0 {
		t.Fatal("no quick flush")
	}
	// Killed, and then the power fails before anybody opens it.
	killed := r.disk.Cut(disktest.Kill)
	next := killed.Cut(disktest.PowerCut)
	r.leave()
	killed.Close()
	r.disk.Close()
	r.disk = next
	r.open(Options{}, 1)
	wantAt(t, r.s, disk, 0)
}

// Blocks that the disk has no longer are passed over.
func TestRecallAfterShrink(t *testing.T) {
	r := newQuickRig(t, CreateOptions{}, 1)
	r.warm()
	p := pattern(alignedBytes(blockSize), 1)
	q := &bio.Request{Op: bio.Write, Off: 1<<20 - blockSize, Len: blockSize, Iov: []unix.Iovec{vectorOf(p)}}
	r.lanes[0].Submit(q) // admitted
	if err := r.s.Resize(context.Background(), 1<<19, true); err != nil {
		t.Fatal(err)
	}
	r.lanes[0].Dispatch()
	if len(r.s.intents.open) == 0 {
		t.Fatal("no intent")
	}
	for r.lanes[0].step() {
	}
	if q.Err == nil {
		t.Fatal("a write behind the end went through")
	}
	if err := r.s.data.Sync(); err != nil {
		t.Fatal(err)
	}
	r.die(disktest.PowerCut, Options{})
	if r.s.Size() != 1<<19 {
		t.Fatal("the disk is not what it was")
	}
	wantNoFaults(t)(r.s.Check(context.Background(), nil))
}

// A volume without slots to spare has no intents.
func TestNoRoomForARing(t *testing.T) {
	d := disktest.New(1)
	defer d.Close()
	d.AddDevice("/dev", 300*blockSize)
	o := CreateOptions{Size: 1 << 20, Data: "/dev", JournalSize: journalArea + minJournalArea}
	if err := CreateOn(fakeFS{d}, o); err != nil {
		t.Fatal(err)
	}
	for n, off := range map[uint64]bool{16: false, 20: true} {
		few := quickTuning
		few.intentSlots = n
		s, err := OpenOn(fakeFS{d}, Options{ByHand: true, tuning: &few})
		if err != nil {
			t.Fatal(err)
		}
		if s.intents.off != off || off != (s.slots.usage().free == 300) {
			t.Errorf("%d slots for intents of 300: off %v", n, s.intents.off)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An intent of another volume or incarnation is none.
func TestForeignIntent(t *testing.T) {
	p := encodeIntent(sampleIntent())
	key := sampleOpenHeader().ring.key
	if _, err := decodeIntent(p, 0, sampleID, key+1); err == nil {
		t.Error("an intent with another key")
	}
	if _, err := decodeIntent(p, 0, [16]byte{1}, key); err == nil {
		t.Error("an intent of another volume")
	}
	for _, edit := range []func(*intent){
		func(i *intent) { i.number = 0 },
		func(i *intent) { i.sums = i.sums[:2] },
		func(i *intent) { i.sums = nil },
		func(i *intent) { i.places[0].slot = slotZero },
		func(i *intent) { i.places = nil; i.sums = nil },
	} {
		i := sampleIntent()
		edit(i)
		if _, err := decodeIntent(encodeIntent(i), 0, sampleID, key); err == nil {
			t.Errorf("%+v", i)
		}
	}
}

// Lanes on threads of their own, flush rounds and snapshots in the background: for the race
// detector, and for whoever waits for somebody who waits for him.
func TestQuickFlushesTogether(t *testing.T) {
	small := quickTuning
	small.growSlots = 1 << 10
	s := open(t, newVolume(t, CreateOptions{Size: 64 << 20, JournalSize: 256 << 10}), Options{tuning: &small})
	var all sync.WaitGroup
	for i := range 3 {
		kind := []aio.Kind{aio.Threads, aio.Inline, aio.Threads}[i]
		all.Go(func() {
			writeAndFlush(t, s, kind, 60, int64(i)*2000)
		})
	}
	for range 5 {
		if _, err := s.Checkpoint(context.Background(), ""); err != nil {
			t.Error(err)
		}
		if err := s.Sync(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	writeAndFlush(t, s, aio.Inline, 2*maxWait, 0) // alone, so that intents are of use again
	wantNoFaults(t)(s.Check(context.Background(), nil))
	if st := s.Status(); st.QuickFlushes == 0 || st.Flushes == 0 {
		t.Errorf("%d quick flushes, %d rounds", st.QuickFlushes, st.Flushes)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// writeAndFlush does rounds of three small writes and three flushes, through a lane of its own.
func writeAndFlush(t *testing.T, s *Store, kind aio.Kind, rounds, from int64) {
	runtime.LockOSThread() // an engine is used by the thread that made it
	defer runtime.UnlockOSThread()
	r := newBareAllocRig(t, s, kind, 3)
	defer r.close(t)
	memory := r.requests[0].Iov[:1]
	for round := range rounds {
		for i := range r.requests {
			r.requests[i].Len, r.requests[i].Iov = 4096, memory
		}
		r.batch(t, bio.Write, func(k int) int64 { return (from + (round*3+int64(k))%999) * 4096 })
		for i := range r.requests {
			r.requests[i].Len, r.requests[i].Iov = 0, nil
		}
		r.batch(t, bio.Flush, func(int) int64 { return 0 })
	}
}
