package pair

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/guard"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
	"github.com/belay-vm/belay/qmp"
)

// Times are the durations of a pair. HoldTotal is less than a third of Promise.
type Times struct {
	HoldIdle  time.Duration // a stop waits so long without progress of the peer
	HoldTotal time.Duration // and so long in all
	Linger    time.Duration // between stops of one machine's disks
	Promise   time.Duration // for which the secondary promises not to take over
	Skew      time.Duration // by which two clocks may differ in that time
	Silence   time.Duration // of the peer, after which it is lost
	Again     time.Duration // between questions to who does not answer; 0: half a second
}

// again is the pause between such questions.
func (t Times) again() time.Duration {
	if t.Again == 0 {
		return 500 * time.Millisecond
	}
	return t.Again
}

// DefaultHold is how long a partner may hold the guest up, if nothing else is said.
const DefaultHold = time.Second

// TimesFor are the durations of a pair whose guest may be held up by the partner for so long: a partner
// that makes no progress is given up after three tenths of it, and one that says nothing after twice. A
// takeover waits for four times as long, because that is what the partner promises.
func TimesFor(hold time.Duration) Times {
	return Times{
		HoldIdle: hold * 3 / 10, HoldTotal: hold, Linger: 10 * time.Millisecond,
		Promise: 4 * hold, Skew: hold / 10, Silence: 2 * hold,
	}
}

// Config is what a side is told. All but Peer and MigrateURI stays as it is.
type Config struct {
	Name    string // of the pair, at most 64 bytes
	Stores  []*checkpoint.Store
	Sockets qmp.Sockets
	Cards   []Card // whose packets are compared

	Transport mirror.Transport
	Listener  net.Listener // of a secondary
	Window    int          // bytes that a secondary takes in flight

	Peer       string // of a primary: host:port; may be empty
	MigrateURI string
	Delay      time.Duration // between checkpoints
	SyncRate   int64         // bytes a second; 0: as fast as it goes
	Alone      bool          // the operator's word that no partner of old serves

	Witness witness.Witness
	Times   Times
	Clock   mirror.Clock  // of promises; nil: mirror.BootClock
	Guard   *guard.Keeper // of QEMU, closed by Run; nil: it outlives a belay that is killed
	Log     hclog.Logger

	without rule // rules that are left out, in a simulation
}

// on says whether a rule holds; only a simulation makes it false.
func (c *Config) on(r rule) bool { return c.without&r == 0 }

// Pair is one side of a pair. Its methods may be called from any goroutine.
type Pair struct {
	cfg     Config
	log     hclog.Logger
	mail    *mailbox
	volumes []*volume
	disks   []front
	fence   *fence
	qemu    hypervisor
	voice   *mailbox // what is said to the peer, in order
	mute    chan struct{}
	decided chan struct{} // the operator has said something
	sink    *sink
	reader  *reader
	front   chan struct{} // closed when stops are not answered any more
	ctx     context.Context
	work    sync.WaitGroup

	// The loop's own.
	secondary  bool
	p          colo.Primary
	s          colo.Secondary
	timers     map[colo.Timer]*time.Timer
	mirror     *mirror.Session // nil: none
	out        *outgoing       // of a primary with a session
	question   context.CancelFunc
	generation uint64
	copy       *copying      // a synchronisation whose session broke
	promised   time.Duration // what the primary asked for last
	leaving    error
	quit       bool
	seeking    bool
	sought     bool        // the peer of the beginning
	busy       bool        // a secondary has a session
	follows    bool        // a secondary's QEMU is there and takes a guest
	unfit      error       // why the one that is there does not
	known      bool        // and the machine knows of it
	keeping    bool        // the disks are being made durable
	keptMark   mirror.Mark // the newest that is; of mirror.Base: none
	keptBases  []uint32    // its points, by disk

	saying sync.WaitGroup // words to the peer
	status statusBoard
}

// ErrOut is for a side that serves no more, and why.
var ErrOut = errors.New("this side serves no more")

// NewPrimary makes the side that serves now.
func NewPrimary(cfg Config) (*Pair, error) { return newPair(cfg, checkpoint.RolePrimary) }

// NewSecondary makes the side that follows.
func NewSecondary(cfg Config) (*Pair, error) { return newPair(cfg, checkpoint.RoleSecondary) }

func newPair(cfg Config, role checkpoint.Role) (*Pair, error) {
	p := &Pair{
		cfg: cfg, log: cfg.Log, mail: newMailbox(), secondary: role == checkpoint.RoleSecondary,
		timers: map[colo.Timer]*time.Timer{}, front: make(chan struct{}),
		voice: newMailbox(), mute: make(chan struct{}),
		decided: make(chan struct{}, 1), ctx: context.Background(), keptMark: mirror.Mark{Epoch: mirror.Base},
	}
	p.status.now.Epoch = mirror.Base
	p.fence = newFence(p.clock(), p.post, cfg.Times.HoldTotal)
	p.disks = make([]front, len(cfg.Stores))
	for _, s := range cfg.Stores {
		v := &volume{Store: s, anyLine: !cfg.on(ruleOwnLine)}
		p.volumes = append(p.volumes, v)
		if state, ok := v.Pair(); ok {
			p.generation = max(p.generation, state.Generation)
		}
	}
	if err := mayBegin(p.volumes, cfg.Name, role); err != nil {
		return nil, err
	}
	for _, v := range p.volumes {
		v.holdAll()
	}
	p.reader = newReader(p.volumes)
	p.sink = newSink(p.volumes, p.syncBegun)
	p.sink.keepOwn = !cfg.on(ruleDropOwn)
	cards := &cards{list: cfg.Cards, local: cfg.Sockets.Link, log: cfg.Log.Named("cards")}
	q := newQEMU(cfg.Log.Named("qemu"), cfg.Guard, cards, p.post)
	q.connected = func(c *qmp.Client) { p.run(func() { p.status.monitor(c); p.meet() }) }
	p.qemu = q
	return p, nil
}

func (p *Pair) clock() mirror.Clock {
	if p.cfg.Clock == nil {
		return mirror.BootClock
	}
	return p.cfg.Clock
}

// mayBegin refuses a volume whose state does not allow the role.
func mayBegin(volumes []*volume, name string, role checkpoint.Role) error {
	for i, v := range volumes {
		state, ok := v.Pair()
		switch {
		case !ok:
			continue
		case state.Pair != name:
			return fmt.Errorf("disk %d belongs to the pair %q, not %q", i, state.Pair, name)
		case role == checkpoint.RolePrimary && state.Poisoned:
			return fmt.Errorf("disk %d is poisoned: %s", i, state.Why)
		case role == checkpoint.RolePrimary && state.Syncing:
			return fmt.Errorf("disk %d is only in part synchronised", i)
		case role == checkpoint.RolePrimary && state.Role == checkpoint.RoleSecondary:
			return fmt.Errorf("disk %d was the secondary's: 'belay failover' makes it the primary's", i)
		}
	}
	return nil
}

// Fence is what the device of a disk, counted from 0, is to be given.
func (p *Pair) Fence(disk int) blk.Fence { return p.fence.of(disk) }

// Attach puts a device that was given its disk's fence before the volume. All are attached before Run.
func (p *Pair) Attach(disk int, dev *blk.Device) *Disk {
	d := newDisk(disk, dev, p.post, p.front)
	d.halting = p.fence.Look
	p.disks[disk] = d
	return d
}

// Run runs the side until ctx ends or it serves no more: then the error wraps ErrOut.
func (p *Pair) Run(ctx context.Context) error {
	asked := ctx // to end; what runs goes on until the loop has done what is to be done then
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	p.ctx = ctx
	if err := p.begin(ctx); err != nil {
		return err
	}
	failed := make(chan error, 1)
	p.work.Go(p.speak)
	p.work.Go(func() {
		if err := p.qemu.follow(ctx, p.cfg.Sockets); err != nil {
			failed <- err
		}
	})
	err := p.loop(asked, failed)
	cancel()
	p.end()
	return err
}

// begin makes durable who this side is, and starts what looks for the peer.
func (p *Pair) begin(ctx context.Context) error {
	if p.secondary {
		p.work.Go(func() { p.listen(ctx) })
		return nil
	}
	p.generation = max(p.generation, 1)
	err := updateAll(p.volumes, func(s *checkpoint.PairState) {
		s.Pair, s.Role, s.Generation = p.cfg.Name, checkpoint.RolePrimary, p.generation
	})
	return err
}

// loop steps the machine until ctx ends, the side is out, or what it needs cannot be.
func (p *Pair) loop(ctx context.Context, failed <-chan error) error {
	for {
		for _, do := range p.mail.take() {
			do()
		}
		p.publish()
		if p.leaving != nil {
			return p.leaving
		}
		select {
		case <-p.mail.wake:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return p.retreat()
		}
	}
}

// retreat ends a side that is asked to end: the machine hands over what it can, in time.
func (p *Pair) retreat() error {
	p.take(colo.Quit{})
	limit := time.After(3 * p.cfg.Times.Silence)
	for p.leaving == nil && p.handing() {
		select {
		case <-p.mail.wake:
			for _, do := range p.mail.take() {
				do()
			}
		case <-limit:
			return nil
		}
	}
	return nil
}

// handing says that the peer is to be told to take over, or that this side is out.
func (p *Pair) handing() bool {
	return !p.secondary && p.p.Phase() == colo.PrimaryHanding || p.quit
}

// end lets go of everything. Front ends do not get the answers that they wait for.
func (p *Pair) end() {
	p.mail.close()
	close(p.mute)
	p.fence.stop()
	p.cfg.Guard.Close()
	for _, d := range p.disks {
		d.hangUp()
	}
	close(p.front)
	if p.question != nil {
		p.question()
	}
	if p.mirror != nil {
		p.mirror.Close()
	}
	p.work.Wait()
	p.closeOut()
	p.copy.close()
	p.sink.drop()
	p.reader.close()
}

// run has the loop do something.
func (p *Pair) run(f func()) { p.mail.put(f) }

// post gives the machine an event.
func (p *Pair) post(e colo.Event) { p.run(func() { p.take(e) }) }

// take steps the machine and does what it says.
func (p *Pair) take(e colo.Event) {
	var actions []colo.Action
	before := p.phase()
	if p.secondary {
		p.s, actions = p.s.Step(e)
	} else {
		p.p, actions = p.p.Step(e)
	}
	if p.log.IsDebug() {
		p.log.Debug("step", "event", fmt.Sprintf("%T%+v", e, e), "phase", p.phase(), "actions", describe(actions))
	}
	p.cfg.Guard.Bind(p.bound()) // before anything is done that makes it necessary
	for _, a := range actions {
		p.do(a)
	}
	if now := p.phase(); now != before {
		p.log.Info("phase", "was", before, "now", now, "event", fmt.Sprintf("%T", e))
	}
	p.settle()
}

func describe(actions []colo.Action) string {
	text := ""
	for _, a := range actions {
		text += fmt.Sprintf(" %T%+v", a, a)
	}
	return text
}

// bound says whether QEMU is to be ended if belay is killed now.
func (p *Pair) bound() bool {
	if p.secondary {
		return p.s.Bound()
	}
	return p.p.Bound()
}

func (p *Pair) phase() string {
	if p.secondary {
		return p.s.Phase().String()
	}
	return p.p.Phase().String()
}

// settle looks whether the role has changed, or the side is out.
func (p *Pair) settle() {
	switch {
	case p.secondary && p.s.Phase() == colo.SecondaryPoisoned:
		p.leave(fmt.Errorf("%w: %s", ErrOut, p.s.Why()))
	case p.secondary:
		if machine, ok := p.s.AsPrimary(); ok && !p.quit {
			p.secondary, p.p = false, machine
			p.log.Info("this side is the primary now", "generation", p.generation)
		}
	case p.p.Phase() == colo.PrimaryOut:
		p.leave(fmt.Errorf("%w: the other side has the guest", ErrOut))
	}
}

// leave ends the loop when everything that was posted before is done.
func (p *Pair) leave(why error) {
	if p.quit {
		return
	}
	p.quit = true
	go func() {
		p.farewell()
		p.run(func() { p.leaving = why })
	}()
}

// newID draws a name for a run.
func newID() (id mirror.ID) {
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}
