package checkpoint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

// plan says what a random workload runs on. Everything in it follows from the seed, but what a
// test sets.
type plan struct {
	seed      uint64
	size      int64
	most      int64 // bytes that the disk may grow to
	base      int64 // bytes of the base image
	checksums bool
	lanes     int
	depth     int
	tuning    tuning
	weights   [numDeeds]int
	aged      int // writes before the workload begins, so that the journal is about to wrap
	hasty     haste
	eager     bool // the driver acknowledges before Settle
	narrow    bool // cuts come between the rows of procedures only
	often     bool // small writes, and flushes between them: quick ones
	frees     bool // a quick flush gives slots back
	wraps     bool // intents are written over before a proof takes their place
	named     bool // points that are kept have names, so long that a catalog ends near the end of a page
}

func newPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := plan{seed: seed, lanes: 2 + rng.IntN(2), depth: 1 + rng.IntN(6), checksums: rng.IntN(4) == 0}
	blocks := int64(8 + rng.IntN(40))
	p.size = blocks*blockSize - int64(rng.IntN(2)*rng.IntN(8))*sectorSize
	p.most = p.size + 16*blockSize
	if rng.IntN(3) == 0 {
		p.base = (1 + rng.Int64N(p.most/sectorSize)) * sectorSize
	}
	p.tuning = tuning{
		regionSlots: 1 + rng.Uint64N(16), growSlots: 16 + rng.Uint64N(64),
		minSlack: 4 + rng.Uint64N(64), unprovenBlocks: 8 + rng.Uint64N(100),
	}
	if rng.IntN(4) > 0 { // hardly any free slot but those just given up
		p.tuning.regionSlots, p.tuning.growSlots = 1+rng.Uint64N(2), 1+rng.Uint64N(8)
		p.tuning.minSlack = 1 + rng.Uint64N(8)
	}
	for i, w := range usualWeights {
		p.weights[i] = w * []int{0, 1, 1, 4}[rng.IntN(4)]
	}
	p.weights[doLane] = usualWeights[doLane]
	if rng.IntN(4) == 0 {
		p.aged = 900 + rng.IntN(400)
	}
	p.flushOften(rand.New(rand.NewPCG(seed, 4)))
	p.named = rand.New(rand.NewPCG(seed, 5)).IntN(3) == 0
	return p
}

// flushOften makes most plans such that quick flushes happen: nothing but writes between them, and
// hardly any rounds.
func (p *plan) flushOften(rng *rand.Rand) {
	p.tuning.intentSlots = []uint64{0, 1 + rng.Uint64N(6), 8, 8, 16, 32}[rng.IntN(6)]
	p.often = rng.IntN(4) > 0
	if !p.often {
		return
	}
	for i := range p.weights {
		p.weights[i] = min(p.weights[i], rng.IntN(2))
	}
	p.weights[doLane], p.weights[doFlush], p.weights[doTend] = 500, 30, 10
	p.lanes, p.depth = 1+rng.IntN(2), 1+rng.IntN(4)
	if p.weights[doLoad] > 0 {
		p.weights[doStage], p.weights[doLoad] = 12, 6
	}
	if rng.IntN(2) == 0 { // nothing but the ring asks for rounds
		p.tuning.minSlack, p.tuning.unprovenBlocks = 400, 1000
	}
}

// rig drives a store on a disk that lies, from one goroutine, and keeps the ledger. What goes
// wrong is a panic with a failure, because it may be found in the middle of anything.
type rig struct {
	plan
	rng    *rand.Rand
	disk   *disktest.Disk
	s      *Store
	ws     []*worker
	ledger *ledger

	watch   func(op int) // called after every operation of the disk
	peek    func()       // called between the rows of a procedure
	faulty  bool         // operations are made to fail
	failing int          // the number of the one
	broken  bool         // one has
	working bool         // a lane is at it, or nobody may be
	between bool         // two rows of a procedure
	spare   int          // steps that others may do until the next deed: else they need rounds without end
	views   []openView
	staged  *stagedState
	tracked *tracking
}

// name is one for the next point. A point alone is not as long as a page, several may be.
func (r *rig) name() string {
	if !r.named {
		return ""
	}
	name, c := fmt.Sprintf("%d-", r.s.epoch), r.s.catalog()
	left := blockSize - (c.encodedLen()+catalogPointHead)%blockSize
	if left -= r.rng.IntN(16) * 8; left < len(name) || left > maxName {
		left = maxName - r.rng.IntN(50)
	}
	return name + strings.Repeat("x", left-len(name))
}

// failure is how a rig ends.
type failure struct{ err error }

// stopped ends a deed of a rig whose store is poisoned.
type stopped struct{}

// attempt does a random thing with a store that may stop meanwhile.
func (r *rig) attempt() {
	defer func() {
		if p := recover(); p != nil && p != (any)(stopped{}) {
			panic(p)
		}
	}()
	r.deed()
}

func (r *rig) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

const basePath = "/base"

// newRig makes a volume and opens it.
func newRig(p plan) *rig {
	r := &rig{plan: p, rng: rand.New(rand.NewPCG(p.seed, 2)), disk: disktest.New(p.seed)}
	r.watch, r.peek = func(int) {}, func() {}
	o := CreateOptions{Size: p.size, Checksums: p.checksums, JournalSize: journalArea + minJournalArea}
	if p.base > 0 {
		f, err := r.disk.Create(basePath)
		r.must(err)
		image := make([]byte, p.base)
		for i := range len(image) / sectorSize {
			baseTag.fill(image[i*sectorSize:(i+1)*sectorSize], i)
		}
		_, err = f.WriteAt(image, 0)
		r.must(errors.Join(err, f.Sync(), f.Close()))
		o.Base, o.BaseFormat = basePath, "raw"
	}
	r.must(CreateOn(fakeFS{r.disk}, o))
	r.ledger = newLedger(p.size, int(p.most/sectorSize), p.base)
	r.open(Options{})
	r.age()
	return r
}

// age fills the journal, so that what follows meets its end.
func (r *rig) age() {
	if r.aged == 0 {
		return
	}
	p := make([]byte, sectorSize)
	for range r.aged {
		at := r.ledger.issue(0, 1, 0)
		_, err := r.s.WriteAt(p, 0)
		r.must(err)
		r.ledger.report(0, 1, at, nil)
	}
	at := r.ledger.tick()
	r.must(r.s.Sync())
	r.ledger.synced(at)
	r.settle()
}

// rigs finds the rig of a store that is in the middle of a procedure.
var rigs sync.Map

// open opens the volume and its lanes. The ledger is not consulted.
func (r *rig) open(o Options) {
	r.must(r.tryOpen(o))
}

func (r *rig) tryOpen(o Options) error {
	o.ByHand, o.tuning = true, &r.tuning
	s, err := OpenOn(fakeFS{r.disk}, o)
	if err != nil {
		return err
	}
	r.s = s
	rigs.Store(s, r)
	r.addLanes()
	r.disk.Hook(r.afterOp)
	return nil
}

func (r *rig) addLanes() {
	r.ws = nil
	for range r.lanes {
		eng := stepper(r.disk.NewEngine())
		if r.hasty != 0 {
			eng = &hastyEngine{stepper: eng, r: r, s: r.s}
		}
		lane, err := r.s.NewLane(r.depth, eng)
		r.must(err)
		r.ws = append(r.ws, newWorker(r, lane, eng))
	}
}

// afterOp runs after every operation of the disk, on the goroutine that did it: somebody else's
// requests go on in the middle of whatever it was, if they could.
func (r *rig) afterOp(op int) {
	r.watch(op)
	r.others()
}

// others lets lanes do a few steps in the middle of a procedure.
func (r *rig) others() { r.othersUpTo(4) }

func (r *rig) othersUpTo(steps int) {
	if r.working || r.s == nil || !r.s.mu.TryLock() {
		return
	}
	r.s.mu.Unlock()
	for n := min(r.rng.IntN(steps), r.spare); n > 0; n-- {
		r.spare--
		r.laneStep()
	}
}

// rush lets lanes do so much that they use free slots up, if a plan is narrow.
func (r *rig) rush() {
	if !r.narrow || r.working || !r.s.mu.TryLock() {
		r.othersUpTo(24)
		return
	}
	r.s.wakeLanes() // always allowed
	r.s.mu.Unlock()
	r.othersUpTo(200)
}

// alone keeps lanes from being driven while fn runs.
func (r *rig) alone(fn func()) {
	was := r.working
	r.working = true
	fn()
	r.working = was
}

// laneStep does one thing on one lane.
func (r *rig) laneStep() {
	r.alone(func() { r.ws[r.rng.IntN(len(r.ws))].step() })
}

// drain finishes all requests, with as much background work as that takes.
func (r *rig) drain() {
	for range 10000 {
		left := 0
		r.alone(func() {
			for _, w := range r.ws {
				w.finish()
				left += w.lane.InFlight()
			}
		})
		if left == 0 {
			return
		}
		if !r.s.flushOnce() {
			r.s.tendOnce()
		}
	}
	r.must(errors.New("requests do not end"))
}

// settle drains, reads the disk and verifies that it shows what it must.
func (r *rig) settle() {
	r.drain()
	if r.faulty && r.s.poisoned() != nil {
		panic(stopped{}) // what the kernel dropped may read as anything now
	}
	r.alone(func() {
		seen, err := diskTags(r.s)
		r.must(err)
		for i, t := range seen {
			if !r.ledger.allows(i, t, r.ledger.now) {
				r.must(fmt.Errorf("sector %d holds write %d, not one of %v", i, t, r.ledger.sectors[i]))
			}
		}
		r.ledger.settle(append(seen, r.ledger.current()[len(seen):]...))
	})
}

// abandon lets go of a store as the death of its process does.
func abandon(s *Store) {
	countQuick(s)
	rigs.Delete(s)
	s.background.end()
	for _, l := range s.lanes {
		_ = unix.Munmap(l.mem)
		_ = unix.Close(l.wake)
	}
	s.state.close()
}

// close ends the rig.
func (r *rig) close() {
	if r.s != nil {
		abandon(r.s)
	}
	r.disk.Close()
}

// die ends the process, or the machine, and opens the volume anew. The ledger takes over what is
// found, once that was judged.
func (r *rig) die(kind disktest.Kind) {
	upTo := r.ledger.kept(kind)
	r.ledger.cut = r.ledger.cut || kind == disktest.PowerCut
	old, next := r.disk, r.disk.Cut(kind)
	abandon(r.s)
	old.Close()
	r.s, r.views, r.disk, r.broken = nil, nil, next, false
	r.staged, r.tracked = nil, nil
	r.disk.Hook(r.afterOp)
	r.open(Options{})
	r.alone(func() {
		r.must(r.ledger.judge(r.s, upTo))
		r.must(audit(r.s))
		r.ledger.adopt(r.s, r.must)
	})
}

// adopt takes the state of a store that was judged for the ledger's own: opening made it durable.
func (l *ledger) adopt(s *Store, must func(error)) {
	seen, err := diskTags(s)
	must(err)
	if l.turned(s) {
		l.marks = append(l.marks, l.turn.makes())
		l.become(l.turn.to.tags, l.tick())
		l.head, l.line = l.turn.to, l.turn.line
	}
	l.turn, l.loads, l.cut = nil, nil, false
	at := l.tick()
	for i, t := range append(seen, l.current()[len(seen):]...) {
		l.sectors[i] = []version{{tag: t, from: at, to: at, done: true}}
	}
	l.size, l.other, l.durable = s.Size(), s.Size(), at
	var kept []*mark
	for _, p := range s.Points() {
		m := l.mark(p.ID)
		m.retired, m.doubt, m.gone, m.lost = p.Retired, false, 0, 0
		kept = append(kept, m)
	}
	l.marks = kept
}

// reopen closes the volume in order and opens it again.
func (r *rig) reopen() {
	r.closeViews()
	r.untrack()
	r.unstage()
	r.settle()
	r.alone(func() {
		for _, w := range r.ws {
			r.must(w.lane.Close())
		}
		rigs.Delete(r.s)
		at := r.ledger.tick()
		s := r.s
		r.s, r.ws = nil, nil
		r.must(s.Close())
		r.ledger.synced(at)
		r.open(Options{})
		r.must(r.ledger.judge(r.s, r.ledger.now))
		r.must(audit(r.s))
	})
}

// withOthers puts a place where others may come between before every row of a procedure.
func withOthers[T any](order []step[T]) []step[T] {
	var rows []step[T]
	for _, row := range order {
		rows = append(rows, step[T]{"others", func(s *Store, _ *T) error {
			if r, ok := rigs.Load(s); ok {
				r.(*rig).between = true
				r.(*rig).rush()
				r.(*rig).peek()
				r.(*rig).between = false
			}
			return nil
		}}, row)
	}
	return rows
}

// loosened opens every procedure of the product to others until undo is called.
func loosened() (undo func()) {
	flush, snap, trim, load := flushOrder, snapshotOrder, trimOrder, loadOrder
	flushOrder, snapshotOrder, trimOrder = withOthers(flush), withOthers(snap), withOthers(trim)
	loadOrder = withOthers(load)
	return func() { flushOrder, snapshotOrder, trimOrder, loadOrder = flush, snap, trim, load }
}
