package pair

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/colo/sim"
	"github.com/belay-vm/belay/internal/disktest"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
	"github.com/belay-vm/belay/qmp"
)

// simTimes are a pair's in the world of package sim, whose durations are short.
var simTimes = Times{
	HoldIdle: 6 * time.Millisecond, HoldTotal: 18 * time.Millisecond, Linger: 300 * time.Microsecond,
	Promise: 60 * time.Millisecond, Skew: 3 * time.Millisecond, Silence: 30 * time.Millisecond,
	Again: 5 * time.Millisecond,
}

// simSides brings real sides into the world: a Pair each, its stores on disks that lie.
type simSides struct {
	start   time.Time
	seed    uint64
	witness *witness.Memory
	without rule
	broken  colo.Rule
	all     []*simSide
	waits   bool   // the world lets the sides run
	dice    uint64 // of jitter
}

func newSimSides(seed uint64) *simSides {
	k := &simSides{start: time.Now(), seed: seed, dice: seed}
	k.witness = witness.NewMemory(k.now, 40*time.Millisecond)
	return k
}

func (k *simSides) now() time.Duration { return time.Since(k.start) }

// jitter lets the process's other goroutines go first, now and then: which of them does is nobody's
// promise. The world's goroutine keeps its turn. (That only one goroutine runs at a time is what the race
// detector does not know.)
//
//go:norace
func (k *simSides) jitter() {
	for k.waits {
		k.dice = k.dice*6364136223846793005 + 1442695040888963407
		if k.dice>>62 != 0 {
			return
		}
		runtime.Gosched()
	}
}

// Sleep lets the bubble's time pass.
func (k *simSides) Sleep(until time.Duration, poke <-chan struct{}) time.Duration {
	k.waits = true
	defer func() { k.waits = false }()
	synctest.Wait()
	if left := until - k.now(); left > 0 {
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-poke:
			timer.Stop()
		}
		synctest.Wait()
	}
	return k.now()
}

// simSide is a belay process with its disks.
type simSide struct {
	k        *simSides
	host     *sim.Host
	pair     *Pair
	listener *simListener
	conns    []*simConn
	quiesced chan colo.Digests
	direct   bool // questions to the witness are answered at once

	disks  []*disktest.Disk // of the process
	left   []*disktest.Disk // what the next one finds, once it is dead
	stores []*checkpoint.Store
	dead   atomic.Bool
	fuse   atomic.Int64 // operations of the disks until it dies; below 1: it does not
	power  bool         // with its host
	leave  context.CancelFunc
	shown  uint64        // requests that were executed
	kept   mirror.Mark   // the newest checkpoint that it knew to be durable when it died; zero: none
	over   chan struct{} // closed when nothing of it runs any more
}

// New makes a side and starts it.
func (k *simSides) New(h *sim.Host, secondary bool, disk sim.Side) sim.Side {
	s, from := k.make(h), sideOf(disk)
	if err := s.plug(from); err != nil {
		panic(err)
	}
	make := NewPrimary
	if secondary {
		make = NewSecondary
		s.listener = newSimListener()
	}
	if err := s.init(from, make); err != nil {
		panic(err)
	}
	s.run()
	return s
}

// Cold starts a primary on what a power cut left.
func (k *simSides) Cold(h *sim.Host, disk sim.Side) (sim.Side, error) {
	s, from := k.make(h), sideOf(disk)
	err := s.plug(from)
	if err == nil {
		err = s.init(from, NewPrimary)
	}
	if err == nil {
		s.direct = true
		err = s.pair.MayServe(context.Background())
		s.direct = false
	}
	if err != nil {
		s.dead.Store(true)
		s.left = s.disks
		s.closeStores()
		close(s.over)
		return nil, err
	}
	s.run()
	return s, nil
}

func sideOf(s sim.Side) *simSide {
	side, _ := s.(*simSide)
	return side
}

func (k *simSides) make(h *sim.Host) *simSide {
	s := &simSide{k: k, host: h, quiesced: make(chan colo.Digests), over: make(chan struct{})}
	k.all = append(k.all, s)
	return s
}

// plug opens the disks that a dead side left, or empty ones.
func (s *simSide) plug(from *simSide) error {
	for i := range s.host.Disks() {
		var d *disktest.Disk
		if from != nil {
			d = from.left[i].Cut(disktest.Kill)
		} else {
			var err error
			if d, err = newSimDisk(s.k.seed<<16 + uint64(s.host.Number(1<<16))); err != nil {
				return err
			}
		}
		s.disks = append(s.disks, d)
		store, err := checkpoint.OpenOn(simFS{d}, checkpoint.Options{Pair: true, MaxUnretired: 64, ByHand: true})
		if err != nil {
			return err
		}
		s.stores = append(s.stores, store)
		d.Hook(s.burn)
	}
	return nil
}

// hasMark says whether a mark is there, or a newer one of its run.
func hasMark(list []mirror.Mark, want mirror.Mark) bool {
	for _, m := range list {
		if m.Generation == want.Generation && m.Epoch >= want.Epoch {
			return true
		}
	}
	return want.IsZero()
}

// init makes the pair, on the disks of another side if there is one.
func (s *simSide) init(from *simSide, make func(Config) (*Pair, error)) error {
	id := s.stores[0].ID()
	cfg := Config{
		Name: "sim", Stores: s.stores, Window: 4 << 20, MigrateURI: "sim", Times: simTimes,
		Transport: mirror.Transport{Connect: s.connect, Timeout: simTimes.Silence},
		Witness:   &simWitness{s.k.witness.For(hex.EncodeToString(id[:]), nil), s},
		Clock:     func() time.Duration { s.k.jitter(); return s.host.ClockAt(s.k.now()) },
		Log:       hclog.New(&hclog.LoggerOptions{Output: simLog{s}, DisableTime: true}),
	}
	cfg.without = s.k.without
	if s.listener != nil {
		cfg.Listener = s.listener
	}
	if s.host.Traces() {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Output: simLog{s}, Level: hclog.Debug, DisableTime: true})
	}
	p, err := make(cfg)
	if err != nil {
		return err
	}
	s.pair = p
	p.p, p.s = p.p.Without(s.k.broken), p.s.Without(s.k.broken)
	if from != nil && !hasMark(commonMarks(p.volumes), from.kept) {
		s.host.Failf("checkpoint %v was durable, and there are %v", from.kept, commonMarks(p.volumes))
	}
	p.qemu = simQEMU{s}
	for i := range p.disks {
		p.disks[i] = simFront{s, i}
	}
	return nil
}

// run is the life of the process.
func (s *simSide) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.leave = cancel
	go func() {
		_ = s.pair.Run(ctx) // why is in its log
		if !s.dead.Load() { // it ended in order
			s.fall(disktest.Kill)
			s.host.Post(simFromEnd, func() { s.host.Died(false) })
		}
		s.closeStores()
		close(s.over)
	}()
	s.pair.run(s.pair.meet)
}

func (s *simSide) closeStores() {
	for i, store := range s.stores {
		_ = store.Close() // what is left was taken before
		s.disks[i].Close()
	}
}

func (s *simSide) isDead() bool { return s.dead.Load() }

// do has the world do something, unless the process died just before.
func (s *simSide) do(a colo.Action) {
	s.k.jitter()
	if !s.isDead() {
		s.host.Do(a)
	}
}

// fall is the end of the process, as its disks and its connections see it. What still runs of it does no
// more harm.
func (s *simSide) fall(kind disktest.Kind) {
	if s.dead.Swap(true) {
		return
	}
	for _, d := range s.disks {
		s.left = append(s.left, d.Cut(kind))
	}
	if p := s.pair; p != nil && p.secondary && p.keptMark.Epoch != mirror.Base {
		s.kept = p.keptMark
	}
	for _, c := range s.conns {
		c.off()
	}
}

func simKind(power bool) disktest.Kind {
	if power {
		return disktest.PowerCut
	}
	return disktest.Kill
}

// burn is called after each operation of a disk.
func (s *simSide) burn(int) {
	s.k.jitter()
	if s.fuse.Add(-1) == 0 && !s.isDead() {
		s.fall(simKind(s.power))
		s.host.Post(simFromEnd, func() {
			s.leave()
			s.host.Died(s.power)
		})
	}
}

// DieDuring has it die at one of the next operations of its disks.
func (s *simSide) DieDuring(op int, power bool) {
	s.power = power
	s.fuse.Store(int64(op))
}

// Die is kill -9, or the host's power.
func (s *simSide) Die(power bool) {
	s.fall(simKind(power))
	s.leave()
}

// Take passes an event on.
func (s *simSide) Take(e colo.Event) {
	switch e := e.(type) {
	case colo.Quiesced:
		s.quiesced <- e.Digests
	case colo.WriteFailed:
		go func() {
			s.pair.fence.failed(e.Disk)
			s.do(colo.PassErrors(e))
		}()
	case colo.Failover:
		go func() { _ = s.pair.Failover(context.Background()) }() // a refusal is an answer
	default:
		s.pair.post(e)
	}
}

// Execute compares, and writes or syncs.
func (s *simSide) Execute(r sim.Request, m sim.Expected) error {
	store := s.stores[r.Disk]
	tags, err := simContent(store)
	if err == nil {
		err = m.Match(tags)
	}
	if err != nil {
		return err
	}
	if r.Flush {
		err = store.Sync()
	} else {
		err = simWrite(store, r.Block, r.Tag)
	}
	if err == nil || s.isDead() {
		return nil
	}
	go s.pair.fence.failed(r.Disk)
	return fmt.Errorf("%w: %w", sim.ErrDisk, err)
}

// FailDuring has one of the next operations of a disk fail.
func (s *simSide) FailDuring(op int) {
	d := s.disks[s.host.Number(len(s.disks))]
	d.FailAt(d.Ops()+op, unix.EIO)
}

// Verify compares both sides over the link, if they are a pair.
func (s *simSide) Verify() {
	if !s.State().Protected {
		return
	}
	go func() {
		r, err := s.pair.Verify(context.Background())
		s.host.Post(simFromVerify, func() {
			switch {
			case err != nil:
				s.host.Tracef("verify: %v", err)
			case len(r.Differ) > 0:
				s.host.Failf("the sides differ at %s: %v", r.At, r.Differ)
			default:
				s.host.Count("comparisons of both sides", 1)
			}
		})
	}()
}

// Show waits at the fence.
func (s *simSide) Show(tell func()) {
	s.shown++
	from := simFromShow + s.shown
	go func() {
		if s.pair.fence.Pass(func() bool { return false }) == blk.Show && !s.isDead() {
			s.host.Post(from, tell)
		}
	}()
}

// Meet protects the guest, again.
func (s *simSide) Meet() bool {
	if s.pair.seeking {
		return false // it looks already, now and then
	}
	go func() {
		err := s.pair.Reprotect(context.Background(), "sim:1", "sim")
		if err != nil && !errors.Is(err, checkpoint.ErrPoisoned) { // its disk may have failed at last
			s.host.Post(simFromEnd, func() { s.host.Failf("it does not look for a partner: %v", err) })
		}
	}()
	return true
}

// Lose is heard of a process that was killed; of a host nobody hears anything.
func (s *simSide) Lose(cause string) {
	if cause == "connection reset" {
		for _, c := range s.conns {
			c.reset()
		}
	}
}

// State is asked for while everybody is at rest.
func (s *simSide) State() sim.State {
	p := s.atRest()
	st := sim.State{Stopped: p.stopped || s.isDead()}
	st.Shows = !st.Stopped && s.pair.fence.until.Load() > int64(s.pair.fence.clock())
	if p.secondary {
		st.Text = "secondary " + p.s.Phase().String()
		st.Poisoned, st.Bound = p.s.Phase() == colo.SecondaryPoisoned, p.s.Bound()
		return st
	}
	st.Text = "primary " + p.p.Phase().String()
	st.Bound = p.p.Bound()
	st.Protected, st.Alone = p.p.Protected(), p.p.Phase() == colo.PrimaryAlone && !s.isDead()
	return st
}

type resting struct {
	p                  colo.Primary
	s                  colo.Secondary
	secondary, stopped bool
}

// atRest copies what the bubble leaves alone until it goes on, which the race detector does not know.
//
//go:norace
func (s *simSide) atRest() resting {
	return resting{s.pair.p, s.pair.s, s.pair.secondary, s.pair.fence.stopped}
}

// Content reads a disk.
func (k *simSides) Content(s sim.Side, disk int) ([sim.Blocks]uint64, error) {
	return simContent(s.(*simSide).stores[disk])
}

// Winner asks the witness.
func (k *simSides) Winner(s sim.Side) bool {
	id := s.(*simSide).stores[0].ID()
	state, err := k.witness.For("", nil).State(context.Background())
	return err == nil && state.Winner == hex.EncodeToString(id[:])
}

// end ends what is left of everything.
func (k *simSides) end() {
	for _, s := range k.all {
		if s.leave != nil {
			s.Die(false)
		}
	}
	for _, s := range k.all {
		<-s.over
		for _, d := range s.left {
			d.Close()
		}
	}
}

// simQEMU is the world's QEMU as a pair commands it.
type simQEMU struct{ s *simSide }

func (q simQEMU) follow(ctx context.Context, _ qmp.Sockets) error { <-ctx.Done(); return nil }
func (q simQEMU) look(context.Context, bool) []pairview.Finding   { return nil }
func (q simQEMU) follower(context.Context, string) error          { return nil }
func (q simQEMU) leftColo(context.Context) bool                   { return false }
func (q simQEMU) setBarrier(seq uint64)                           { q.s.do(colo.Barrier{Seq: seq}) }
func (q simQEMU) yank()                                           { q.s.do(colo.Yank{}) }
func (q simQEMU) compare(context.Context) error                   { return nil }
func (q simQEMU) lostHeartbeat(bool)                              { q.s.do(colo.LostHeartbeat{}) }
func (q simQEMU) end(why string)                                  { q.s.do(colo.EndQEMU{Why: why}) }
func (q simQEMU) migrate(context.Context, time.Duration, string, string) error {
	q.s.do(colo.StartColo{})
	return nil
}

// simFront is the world's rings as a pair has them.
type simFront struct {
	s    *simSide
	disk int
}

func (f simFront) ring(queue int) colo.Ring { return colo.Ring{Disk: f.disk, Queue: queue} }
func (f simFront) drain(queue int)          { f.s.do(colo.Drain{Ring: f.ring(queue)}) }
func (f simFront) answer(queue int)         { f.s.do(colo.AnswerStop{Ring: f.ring(queue)}) }
func (f simFront) release(queue int)        { f.s.do(colo.Release{Ring: f.ring(queue)}) }
func (f simFront) hangUp()                  {}

// still stills all disks for the first one.
func (f simFront) still() (colo.Digests, error) {
	if f.disk > 0 {
		return nil, nil
	}
	f.s.do(colo.DrainAll{})
	select {
	case d := <-f.s.quiesced:
		return d, nil
	case <-f.s.pair.ctx.Done():
		return nil, f.s.pair.ctx.Err()
	}
}

// simWitness takes its time.
type simWitness struct {
	witness.Witness
	s *simSide
}

func (w *simWitness) ask(ctx context.Context, do func() error) error {
	if w.s.direct {
		return do()
	}
	w.s.k.jitter()
	answer, h := make(chan error, 1), w.s.host
	delay := func() time.Duration { return h.Between(200*time.Microsecond, 3*time.Millisecond) }
	h.Post(simFromWitness, func() {
		h.After(delay(), func() {
			if !h.Witness() {
				answer <- witness.ErrUnreachable
				return
			}
			err := do()
			h.After(delay(), func() { answer <- err })
		})
	})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *simWitness) State(ctx context.Context) (state witness.State, err error) {
	err = w.ask(ctx, func() (err error) { state, err = w.Witness.State(ctx); return err })
	return state, err
}

func (w *simWitness) Register(ctx context.Context, generation uint64) error {
	return w.ask(ctx, func() error { return w.Witness.Register(ctx, generation) })
}

func (w *simWitness) Win(ctx context.Context, from uint64) (lease time.Duration, err error) {
	err = w.ask(ctx, func() (err error) { lease, err = w.Witness.Win(ctx, from); return err })
	return lease, err
}

func (w *simWitness) Resign(ctx context.Context) error {
	return w.ask(ctx, func() error { return w.Witness.Resign(ctx) })
}

// simLog puts what a side logs into the world's trace.
type simLog struct{ s *simSide }

func (l simLog) Write(p []byte) (int, error) {
	text, h := string(p), l.s.host
	h.Post(simFromLog, func() {
		if h.Traces() {
			h.Tracef("| %s", text)
		}
		if n, from, ok := simSynchronising(text); ok && !l.s.pair.secondary {
			h.Count(from+" synchronisations of disks", 1)
			h.Count(from+" synchronisations of disks, KiB", n>>10)
		}
	})
	return len(p), nil
}

// simSynchronising reads what a primary logs of a synchronisation.
func simSynchronising(text string) (bytes int, kind string, ok bool) {
	var disk int
	var from string
	_, rest, _ := strings.Cut(text, "synchronising: ")
	n, _ := fmt.Sscanf(rest, "disk=%d bytes=%d from=%s", &disk, &bytes, &from)
	if kind = "incremental"; strings.HasPrefix(from, "0/") {
		kind = "full"
	}
	return bytes, kind, n == 3
}
