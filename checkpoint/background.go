package checkpoint

import (
	"sync"
	"time"
)

// background runs what no request waits for, or only when it must: flush rounds on one goroutine,
// so that a FLUSH never waits for anything else, and the rest on another: map snapshots, sweeps
// of what deleted points kept, holes to punch, a data area to extend.
//
// Each kind of work is a method of Store that does one bounded step and reports whether there
// was anything to do (flushOnce, tendOnce); a test without goroutines calls them itself.
type background struct {
	s       *Store
	flusher loop
	tender  loop
	later   *time.Timer
	manual  bool // no goroutines: the test's driver does the steps

	mu     sync.Mutex
	faults [faultKinds]error // what work of each kind failed with when it was last tried
	logged [faultKinds]time.Time
}

// logPause is the least time between two lines about faults of one kind: a guest that reads what
// is damaged again and again must not fill the log.
const logPause = time.Second

// quietPause is how long nothing is written before a disk counts as quiet, at least.
const quietPause = time.Second

// faultKind is what kind of work failed.
type faultKind uint8

const (
	faultDamage   faultKind = iota // what was read is not what was written, or could not be; it stays so
	faultSpace                     // more room for data
	faultSnapshot                  // a map snapshot
	faultPunch                     // space given back
	faultWrite                     // the disk below has no room for what was allocated
	faultKinds
)

func startBackground(s *Store, manual bool) *background {
	b := &background{s: s, manual: manual, flusher: newLoop(), tender: newLoop()}
	b.later = time.AfterFunc(quietPause, b.pokeTend)
	b.later.Stop()
	if !manual {
		b.flusher.start(s.flushOnce)
		b.tender.start(s.tendOnce)
	}
	return b
}

// end stops the goroutines; a step under way is finished. The one that flushes goes last, because a
// step of the other may wait for a round.
func (b *background) end() {
	b.later.Stop()
	b.tender.end()
	b.flusher.end()
}

func (b *background) pokeFlush() { b.flusher.poke() }
func (b *background) pokeTend()  { b.tender.poke() }

// linger has the tender look again when there was time for a pause between requests.
func (b *background) linger() { b.later.Reset(quietPause) }

// loop is a goroutine that does steps until there is nothing to do, then waits to be poked.
type loop struct {
	poked   chan struct{}
	stop    chan struct{}
	running *sync.WaitGroup
}

func newLoop() loop {
	return loop{make(chan struct{}, 1), make(chan struct{}), &sync.WaitGroup{}}
}

func (l loop) start(once func() bool) {
	l.running.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			case <-l.poked:
				for once() && !l.stopped() {
				}
			}
		}
	})
}

func (l loop) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l loop) end() {
	close(l.stop)
	l.running.Wait()
}

func (l loop) poke() {
	select {
	case l.poked <- struct{}{}:
	default: // it will look anyway
	}
}

// help does steps on the caller's thread where there are no goroutines.
func (b *background) help(once func() bool) {
	for b.manual && once() {
	}
}

// report keeps a fault that nobody else tells a person about, until such work succeeds: nil.
func (b *background) report(kind faultKind, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.faults[kind]
	b.faults[kind] = err
	switch {
	case err == nil && before != nil:
		b.s.log.Info("works again", "after", before)
	case err == nil || before != nil && before.Error() == err.Error():
	case time.Since(b.logged[kind]) >= logPause:
		b.s.log.Error("fault", "error", err)
		b.logged[kind] = time.Now()
	}
}

// fault returns the gravest reported fault, passing over a lack of space if there is some now.
func (b *background) fault(space bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for kind, err := range b.faults {
		if err != nil && (faultKind(kind) != faultSpace || !space) {
			return err
		}
	}
	return nil
}

// watch starts background work whose time has come. The store's mutex is held.
func (s *Store) watch() {
	if s.journal.used() > s.journal.room()/2 {
		s.wantSnapshot()
	}
	unproven := s.limbo.blocks > s.mostLimbo() || s.written > s.tuning.unprovenBlocks ||
		s.intents.crowded()
	if unproven && !s.flush.wanted {
		s.written = 0
		s.flush.wanted = true
		s.background.pokeFlush()
	}
}

// mostLimbo returns how many slots may wait in limbo before a flush round frees them. What waits is
// missing where writes look for stretches of free slots, so it is a small part of the slack, as long
// as a round then serves many writes. The store's mutex is held.
func (s *Store) mostLimbo() uint64 {
	const worthRound = 16 << 20 / blockSize
	slack := s.slack()
	return max(slack/16, min(slack/2, worthRound))
}

// wantSnapshot asks for a map snapshot. The store's mutex is held.
func (s *Store) wantSnapshot() {
	if !s.want.snapshot {
		s.want.snapshot = true
		s.background.pokeTend()
	}
}

// wantSpace asks for free slots. The store's mutex is held.
func (s *Store) wantSpace() {
	if !s.want.space {
		s.want.space = true
		s.background.pokeTend()
	}
}

// Work does a step of what goroutines do otherwise, in a store that was opened with ByHand, and says
// whether there was anything to do.
func (s *Store) Work() bool { return s.flushOnce() || s.tendOnce() }

// wants is work that was asked for. The store's mutex guards it.
type wants struct {
	snapshot  bool
	space     bool
	room      bool
	roomAfter sequence // not before this record
	failed    error    // why the last snapshot was not made
}

// tendOnce does one step of the most urgent work.
func (s *Store) tendOnce() bool {
	s.mu.Lock()
	w := s.want
	trim := s.trims.n > 0
	s.mu.Unlock()
	switch {
	case w.space:
		s.makeSpace()
	case w.room:
		s.makeRoom()
	case w.snapshot:
		s.snapshotOnce()
	case trim:
		s.trimOnce()
	case s.owing():
		return s.catchUpOnce()
	default:
		return s.sweeps() && s.sweepOnce() || s.trimSlack() || s.warmOnce()
	}
	return true
}

// sweeps reports whether a run waits to be swept. It looks at all of them, with the mutex held.
func (s *Store) sweeps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, r := s.nextSweep()
	return r != nil
}

// snapshotOnce makes the snapshot that was asked for.
func (s *Store) snapshotOnce() {
	s.admin.Lock()
	defer s.admin.Unlock()
	err := s.snapshot()
	s.mu.Lock()
	s.want.snapshot, s.want.failed = false, err
	s.wakeLanes() // once more: who found the journal full since the commit could not ask for another
	s.mu.Unlock()
	if err != nil {
		s.background.report(faultSnapshot, err)
	}
}

// sweepOnce judges one run of a deleted point again. It reports whether it could.
func (s *Store) sweepOnce() bool {
	s.admin.Lock()
	defer s.admin.Unlock()
	s.mu.Lock()
	_, r := s.nextSweep()
	s.mu.Unlock()
	if r == nil {
		return true
	}
	w, err := s.load(r) // nobody pushes to it, and the admin lock keeps its pages
	if err == nil {
		err = s.commitSweep(r, w)
	}
	kind := faultDamage
	if err == errJournalFull {
		kind, err = faultSnapshot, s.snapshot() // then once more
	}
	if err != nil {
		s.background.report(kind, err)
		return false
	}
	return true
}

// wakeLanes lets parked requests try again. The store's mutex is held.
func (s *Store) wakeLanes() {
	for _, l := range s.lanes {
		l.post(func(m *mail) { m.retry = true })
	}
}
