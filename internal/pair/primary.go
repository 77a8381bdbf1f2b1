package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/qmp"
)

// outgoing is what a primary sends in one session.
type outgoing struct {
	session *mirror.Session
	copy    *copying
	stream  *mirror.Stream
	sealing context.CancelFunc
	points  map[uint64][]uint32 // of epochs that are not retired, by disk
}

// copying is a synchronisation, which may take several sessions, and the stream behind it: of each disk
// what changed since it began.
type copying struct {
	run      mirror.ID
	trackers []*checkpoint.Tracker
}

func (c *copying) close() {
	if c == nil {
		return
	}
	for _, t := range c.trackers {
		t.Close()
	}
}

// seek looks for the peer, again after each session that came to nothing. The pair is made once: whoever
// was given up is sought again when the operator says so.
func (p *Pair) seek(ctx context.Context) {
	if p.seeking {
		return
	}
	p.seeking = true
	peer := p.cfg.Peer
	p.work.Go(func() {
		for pause := askAgain; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
			s, err := p.call(ctx, peer)
			if err == nil {
				p.run(func() { p.seeking = false; p.meetPeer(s) })
				return
			}
			p.log.Warn("the peer cannot be reached", "peer", peer, "reason", err)
			p.status.problem(err)
			if isFinal(err) {
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
		p.run(func() { p.seeking = false })
	})
}

// isFinal says that trying again would not help.
func isFinal(err error) bool {
	for _, e := range []error{
		mirror.ErrNotMirror, mirror.ErrVersion, mirror.ErrWrongPeer, mirror.ErrWrongVolume, mirror.ErrSize,
		mirror.ErrOlderGeneration, mirror.ErrCertificate,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// call opens a session.
func (p *Pair) call(ctx context.Context, peer string) (*mirror.Session, error) {
	if err := p.freshGeneration(ctx); err != nil {
		return nil, err
	}
	c, err := p.cfg.Transport.Dial(ctx, peer)
	if err != nil {
		return nil, err
	}
	return mirror.Open(ctx, c, mirror.Config{
		Hello: p.hello(mirror.Primary), Timeout: p.cfg.Times.Silence,
		Reader: p.reader, Event: p.fromSecondary, Admit: p.remember,
	})
}

// freshGeneration makes sure that no mark of the generation exists: a pair is made once in each. This
// side serves alone, so that nobody loses by it.
func (p *Pair) freshGeneration(ctx context.Context) error {
	state, _ := p.volumes[0].Pair()
	used := false
	for _, v := range p.volumes {
		for _, m := range v.marks() {
			used = used || m.mark.Generation >= state.Generation
		}
	}
	if !used {
		return nil
	}
	if _, err := p.register(ctx, state.Generation); err != nil {
		return fmt.Errorf("the witness: %w", err)
	}
	won, err := p.claim(ctx, colo.ClaimAlone, state.Generation)
	if err == nil && !won {
		err = errors.New("another generation was won")
	}
	if err != nil {
		return fmt.Errorf("the witness: %w", err)
	}
	return p.onLoop(ctx, func() error { p.generation = state.Generation + 1; return nil })
}

// remember makes durable which volumes are the partner's.
func (p *Pair) remember(peer *mirror.Hello) error {
	for i, v := range p.volumes {
		if err := v.update(func(s *checkpoint.PairState) { s.Peer = peer.Disks[i].ID }); err != nil {
			return err
		}
	}
	return nil
}

// hello is what this side says of itself.
func (p *Pair) hello(role mirror.Role) mirror.Hello {
	h := mirror.Hello{Role: role, Name: p.cfg.Name, Marks: commonMarks(p.volumes)}
	if role == mirror.Secondary {
		h.Window = p.cfg.Window
	}
	for _, v := range p.volumes {
		state, _ := v.Pair()
		h.Generation = max(h.Generation, state.Generation)
		h.Was = mirror.Role(state.Role)
		h.Disks = append(h.Disks, v.hello())
	}
	return h
}

// fromSecondary passes on what the secondary says.
func (p *Pair) fromSecondary(e mirror.Event) {
	switch e := e.(type) {
	case mirror.Acked:
		p.status.acked(time.Now())
		p.post(colo.Acked{Epoch: colo.Epoch(e.Epoch)})
	case mirror.Reported:
		p.run(func() {
			p.durable(e.Durable)
			p.take(colo.Reported{Epoch: colo.Epoch(e.Epoch)})
		})
	case mirror.Progress:
		p.post(colo.Progress{})
	case mirror.StartAcked:
		p.post(colo.StartAcked{Epoch: colo.Epoch(e.Epoch)})
	case mirror.ShutdownAcked:
		p.post(colo.ShutdownAcked{})
	case mirror.Renewed:
		p.post(colo.Renewed{Until: e.Until})
	case mirror.Left:
		p.post(colo.PeerLeft{Why: e.Text})
	}
}

// meetPeer takes a session in. While the machine has no use for one it ends again.
func (p *Pair) meetPeer(s *mirror.Session) {
	if p.secondary || p.p.Phase() != colo.PrimaryAlone || p.mirror != nil {
		go s.Close()
		return
	}
	o := &outgoing{session: s, copy: p.copy, points: map[uint64][]uint32{}}
	if o.copy == nil {
		o.copy = &copying{run: newID()}
	}
	p.copy = nil
	p.mirror, p.out = s, o
	p.status.problem(nil)
	p.log.Info("the peer is there", "generation", s.Generation())
	p.take(colo.PeerUp{})
	p.work.Go(func() { p.renew(s) })
	p.work.Go(func() {
		if err := p.synchronise(o); err != nil {
			p.log.Warn("synchronisation", "error", err)
			p.status.problem(err)
			s.Close()
		}
	})
	p.work.Go(func() {
		<-s.Done()
		p.run(func() { p.lostPeer(s, o) })
	})
}

// lostPeer is the end of a session.
func (p *Pair) lostPeer(s *mirror.Session, o *outgoing) {
	early := p.p.Phase() == colo.PrimarySyncing
	p.log.Warn("the session is over", "cause", s.Err())
	p.mirror = nil
	if early && p.out == o {
		p.copy, p.out = o.copy, nil // what did not arrive is sent in the next session
	}
	p.closeOut()
	p.take(colo.PeerLost{Cause: fmt.Sprint(s.Err())})
	if early {
		p.seek(p.ctx)
	}
}

// closeOut ends the tracking of changes. From now on the newest common point says what has changed.
func (p *Pair) closeOut() {
	o := p.out
	if o == nil {
		return
	}
	p.out = nil
	if o.sealing != nil {
		o.sealing()
	}
	o.copy.close()
}

// renew keeps the secondary's promise going, as long as the machine wants it.
func (p *Pair) renew(s *mirror.Session) {
	tick := time.NewTicker(p.cfg.Times.Promise / 8)
	defer tick.Stop()
	for {
		p.run(func() {
			if p.mirror == s && !p.secondary && p.p.Renews() {
				p.say(func(s *mirror.Session) error { return s.AskRenewal(p.cfg.Times.Promise) })
			}
		})
		select {
		case <-tick.C:
		case <-s.Done():
			return
		}
	}
}

// synchronise brings the secondary to a point of each disk, and lets the stream begin behind it.
func (p *Pair) synchronise(o *outgoing) error {
	own, theirs := p.hello(mirror.Primary), o.session.Peer()
	from, _ := mirror.Common(&own, &theirs)
	began := time.Now()
	sources := make([]mirror.Source, len(p.volumes))
	bases := make([]uint32, len(p.volumes))
	for i := range p.volumes {
		src, err := p.source(o, i)
		if err == nil {
			bases[i], err = p.syncDisk(o, i, from, src)
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
		sources[i] = &source{tracker: src.tracker}
	}
	p.log.Info("synchronised", "took", time.Since(began).Round(time.Millisecond))
	stream := o.session.Stream(sources)
	return p.onLoop(p.ctx, func() error {
		if p.out != o {
			return mirror.ErrClosed
		}
		for i, v := range p.volumes {
			v.hold(bases[i])
		}
		o.stream = stream
		p.take(colo.Synced{})
		return nil
	})
}

// source begins to note what changes on a disk, unless an earlier session has.
func (p *Pair) source(o *outgoing, disk int) (*source, error) {
	var t *checkpoint.Tracker
	err := p.onLoop(p.ctx, func() error {
		if p.out != o {
			return mirror.ErrClosed
		}
		if disk < len(o.copy.trackers) {
			t = o.copy.trackers[disk]
			return nil
		}
		if err := retireAll(p.volumes[disk]); err != nil {
			return err
		}
		var err error
		if t, err = p.volumes[disk].Track(); err == nil {
			o.copy.trackers = append(o.copy.trackers, t)
		}
		return err
	})
	return &source{tracker: t}, err
}

// retireAll retires points that earlier runs left, so that there is room for others.
func retireAll(v *volume) error {
	for {
		_, err := v.Retire(context.Background())
		if errors.Is(err, checkpoint.ErrNoPoint) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// syncDisk sends what one disk lacks, and returns the point to which that leads.
func (p *Pair) syncDisk(o *outgoing, disk int, from mirror.Mark, src *source) (base uint32, err error) {
	v := p.volumes[disk]
	since := uint32(0)
	if !from.IsZero() {
		since, _ = v.find(from)
	}
	src.cut = func() error {
		at := mirror.Mark{Generation: o.session.Generation(), Epoch: mirror.Base}
		point, _, err := src.tracker.Start(markName(at, 0))
		base = point.ID
		return err
	}
	prepare := func(have []mirror.Range) (mirror.Source, error) {
		open, ended := src.tracker.Pending()
		lacks, err := lack(p.ctx, v, src.tracker, since, have)
		src.left = open + ended + lacks
		p.log.Info("synchronising", "disk", disk, "bytes", src.left, "from", from.String())
		return src, err
	}
	options := mirror.SyncOptions{Progress: func(s mirror.SyncProgress) { p.status.syncing(s) }}
	if p.cfg.SyncRate > 0 {
		options.Limit = rate.NewLimiter(rate.Limit(p.cfg.SyncRate), 1<<20)
	}
	plan := mirror.SyncPlan{Run: o.copy.run, Disk: disk, Size: v.Size(), From: from, All: v.Size()}
	return base, o.session.Sync(p.ctx, plan, prepare, options)
}

// durable notes what the secondary has for good: older points are not needed any more.
func (p *Pair) durable(epoch int64) {
	if p.out == nil || epoch == mirror.Base {
		return
	}
	for i, v := range p.volumes {
		if points := p.out.points[uint64(epoch)]; points != nil && points[i] != 0 {
			v.hold(points[i])
		}
	}
}

// doPeer sends what concerns the peer.
func (p *Pair) doPeer(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Seal:
		p.seal(a)
	case colo.AnnounceStart:
		p.announceStart(a.Epoch)
	case colo.Commit:
		p.commit(uint64(a.Epoch))
	case colo.GiveUpPeer:
		p.log.Warn("the peer is given up", "why", a.Why)
		p.stopSealing()
		p.say(func(s *mirror.Session) error { s.GiveUp(mirror.Machine, a.Why); return nil })
	case colo.HandOver:
		p.log.Warn("the guest is handed over", "why", a.Why)
		p.say(func(s *mirror.Session) error { s.HandOver(mirror.Leaving, a.Why); return nil })
	case colo.AnnounceShutdown:
		p.say(func(s *mirror.Session) error { return s.AnnounceShutdown(mirror.GuestShutdown) })
	default:
		return p.answerPeer(a)
	}
	return true
}

// say has something said to the peer, in order, beside the loop.
func (p *Pair) say(f func(*mirror.Session) error) {
	s := p.mirror
	if s == nil {
		return
	}
	p.saying.Add(1)
	p.voice.put(func() {
		defer p.saying.Done()
		if err := f(s); err != nil {
			p.log.Warn("to the peer", "error", err)
		}
	})
}

// speak says what say was given.
func (p *Pair) speak() {
	for {
		for _, f := range p.voice.take() {
			f()
		}
		select {
		case <-p.voice.wake:
		case <-p.mute:
			return
		}
	}
}

func (p *Pair) stopSealing() {
	if p.out != nil && p.out.sealing != nil {
		p.out.sealing()
	}
}

// seal ends the epoch on all disks at once, and sends the rest of it.
func (p *Pair) seal(a colo.Seal) {
	o := p.out
	if o == nil || o.stream == nil {
		p.post(colo.PeerLost{Cause: "there is no stream"})
		return
	}
	var points []uint32
	at := mirror.Mark{Generation: o.session.Generation(), Epoch: int64(a.Epoch)}
	for i, t := range o.copy.trackers {
		point, _, err := t.Start(markName(at, 0))
		if errors.Is(err, checkpoint.ErrUnretired) || errors.Is(err, checkpoint.ErrTooMany) {
			t.Cut() // without a point there is only more to send after a failure
			err = nil
		}
		if err != nil {
			p.log.Error("an epoch cannot be sealed", "disk", i, "error", err)
			go o.session.Close()
			return
		}
		points = append(points, point.ID)
	}
	o.points[uint64(a.Epoch)] = points
	ctx, cancel := context.WithCancel(p.ctx)
	o.sealing = cancel
	p.status.drained(time.Now())
	p.work.Go(func() {
		defer cancel()
		if err := o.stream.Seal(ctx, uint64(a.Epoch), ringDigests(a.Digests)); err != nil {
			p.log.Warn("seal", "epoch", a.Epoch, "error", err)
		}
		p.status.sent(time.Now())
	})
}

// announceStart tells the secondary that the seal does not stand any longer.
func (p *Pair) announceStart(e colo.Epoch) {
	if o := p.out; o != nil && o.stream != nil {
		p.say(func(*mirror.Session) error { return o.stream.RingStart(uint64(e)) })
	}
}

// commit retires the points up to an epoch, which the secondary has made current.
func (p *Pair) commit(epoch uint64) {
	o := p.out
	p.status.committed(epoch)
	if o == nil {
		return
	}
	last := make([]uint32, len(p.volumes))
	for e, points := range o.points {
		if e > epoch {
			continue
		}
		for i, id := range points {
			last[i] = max(last[i], id)
		}
		if e+keepPoints < epoch {
			delete(o.points, e)
		}
	}
	for i, v := range p.volumes {
		p.work.Go(func() {
			if err := retireTo(v, last[i]); err != nil {
				p.log.Warn("a checkpoint cannot be retired", "disk", i, "error", err)
			}
		})
	}
}

// keepPoints is for how many epochs the points are remembered, until the secondary has them for good.
const keepPoints = 64

// retireTo retires points up to one.
func retireTo(v *volume, last uint32) error {
	v.retiring.Lock()
	defer v.retiring.Unlock()
	for {
		due := false
		for _, q := range v.Points() {
			_, mark := parseMark(q.Name)
			due = due || mark && !q.Retired && q.ID <= last
		}
		if !due {
			return nil
		}
		if _, err := v.Retire(context.Background()); err != nil {
			return err
		}
	}
}

// startColo starts the migration that becomes COLO, and sees whether it does.
func (p *Pair) startColo() {
	if err := p.migrate(); err != nil {
		p.log.Error("COLO cannot be started", "error", err)
		p.status.problem(err)
		p.post(colo.MigrationFailed{Why: err.Error()})
	}
}

func (p *Pair) migrate() error {
	c, err := p.qemu.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
	defer cancel()
	err = c.SetCapabilities(ctx, qmp.Capability{Name: qmp.CapabilityColo, State: true})
	if err == nil && p.cfg.Delay > 0 {
		err = c.SetCheckpointDelay(ctx, p.cfg.Delay)
	}
	if err == nil {
		err = c.Migrate(ctx, p.cfg.MigrateURI)
	}
	if err != nil {
		return err
	}
	return p.awaitColo(c)
}

// awaitColo looks whether the migration ends in COLO. It has all the time that the memory takes.
func (p *Pair) awaitColo(c *qmp.Client) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
		m, err := c.QueryMigrate(ctx)
		cancel()
		switch {
		case p.ctx.Err() != nil || c.Err() != nil:
			return nil // that is told otherwise
		case err != nil && !errors.Is(err, qmp.ErrTimeout):
			return err
		case m.Status == qmp.MigrationColo:
			p.log.Info("COLO runs")
			return nil
		case m.Status == qmp.MigrationFailed, m.Status == qmp.MigrationCancelled,
			m.Status == qmp.MigrationCompleted:
			return fmt.Errorf("the migration to %s: %s %s", p.cfg.MigrateURI, m.Status, m.ErrorDesc)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return nil
		case <-c.Done():
			return nil
		}
	}
}
